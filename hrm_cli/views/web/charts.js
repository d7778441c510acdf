/* Charts of a board's steps and of its search, as SVG. Loaded after board.js.

hrmBoard.stepChart(board, step, onChoose)
    The halt probability, or what `board.halt_name` says, after each step as a curve, and the number of changed cells as bars; `step` (from 1) is marked.
    A click calls onChoose(step).
hrmBoard.searchTree(board)
    The evaluated nodes of the search, with the cells that they pin; a thick line leads to the solution. */
"use strict";
(() => {
  const { node, counted, percent } = hrmBoard;
  const TEXT_AT = 15, TEXT_WIDTH = 6.4, CURVE = 56; // of the search tree

  function stepChart(board, number, onChoose) {
    const width = 280, height = 118, left = 42, right = 10, top = 14, bottom = 22;
    const steps = board.steps, across = width - left - right, up = height - top - bottom;
    const x = (index) => left + 7 + (steps.length > 1 ? (index * (across - 14)) / (steps.length - 1) : across / 2 - 7);
    const y = (share) => top + (1 - share) * up;
    const known = steps.map((step, index) => [index, step.halt]).filter(([, halt]) => halt !== null);
    const svg = node("svg", {
      class: "hb-chart", viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${hrmBoard.sentence(board.halt_name)} after each step: ${known.map(([index, halt]) => `${steps[index].step}: ${percent(halt)}`).join(", ")}`,
    });
    const most = Math.max(1, ...steps.map((step) => step.changed.length));
    const barWidth = Math.max(1, Math.min(12, (0.6 * across) / steps.length));
    let bars = "";
    steps.forEach((step, index) => {
      const tall = (0.7 * up * step.changed.length) / most;
      if (tall) bars += `M${(x(index) - barWidth / 2).toFixed(2)} ${height - bottom}h${barWidth.toFixed(2)}v${-tall.toFixed(2)}h${-barWidth.toFixed(2)}z`;
    });
    svg.append(
      node("path", { class: "hb-axis", d: `M${left} ${top}h${across}M${left} ${y(0.5)}h${across}M${left} ${height - bottom}h${across}` }),
      node("path", { class: "hb-bars", d: bars }),
    );
    for (const share of [0, 0.5, 1]) svg.append(node("text", { x: left - 5, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}%`));
    svg.append(
      node("path", { class: "hb-curve", d: known.map(([index, halt], place) => `${place ? "L" : "M"}${x(index).toFixed(2)} ${y(halt).toFixed(2)}`).join("") }),
      node("text", { x: left, y: height - 6 }, `step ${steps[0].step}`),
    );
    if (steps.length > 1) svg.append(node("text", { x: width - right, y: height - 6, "text-anchor": "end" }, `step ${steps[steps.length - 1].step}`));
    const current = number - 1;
    if (steps.length <= 40) {
      for (const [index, halt] of known) if (index !== current) svg.append(node("circle", { class: "hb-point", cx: x(index), cy: y(halt), r: 3 }));
    }
    if (current >= 0) {
      svg.append(node("path", { class: "hb-cursor", d: `M${x(current)} ${top}V${height - bottom}` }));
      if (steps[current].halt !== null) svg.append(node("circle", { class: "hb-now", cx: x(current), cy: y(steps[current].halt), r: 5 }));
    }
    if (onChoose) {
      svg.style.cursor = "pointer";
      svg.addEventListener("click", (event) => {
        const box = svg.getBoundingClientRect(), place = ((event.clientX - box.left) * width) / box.width;
        const index = Math.round(((place - left - 7) / (across - 14)) * (steps.length - 1));
        onChoose(Math.min(Math.max(index, 0), steps.length - 1) + 1);
      });
    }
    return svg;
  }

  function searchTree(board) {
    const nodes = new Map(board.search.nodes.map((one) => [one.number, { ...one, children: [], waiting: 0, refutedChildren: 0 }]));
    for (const one of nodes.values()) {
      const parent = nodes.get(one.parent);
      if (!parent) continue;
      if (one.order !== null) parent.children.push(one);
      else if (one.refuted) parent.refutedChildren++;
      else parent.waiting++;
    }
    const columns = board.puzzle.columns, down = 34, placed = [], ends = [];
    let lines = 0;
    const name = (one) => (one.cell === null ? "puzzle" : `r${Math.floor(one.cell / columns) + 1}c${(one.cell % columns) + 1} = ${one.symbol}`);
    const label = (one) => {
      const others = [one.waiting ? `${one.waiting} waiting` : "", one.refutedChildren ? `${one.refutedChildren} refuted` : ""].filter(Boolean);
      const wrong = one.violations === 0 ? "solved" : one.violations ? `${Math.max(one.violations - 1, 1)} wrong` : "";
      return [one.cell === null ? "puzzle" : `${name(one)}, ${percent(one.probability)}`, [wrong, ...others].filter(Boolean).join(", ")];
    };
    // Children stand to the right of their parent; each leaf has a line of its own. Lines begin behind the longest text
    // of a column, so that none crosses a text.
    const place = (one, depth) => {
      one.depth = depth;
      one.label = label(one);
      ends[depth] = Math.max(ends[depth] || 0, ...one.label.map((text) => TEXT_AT + TEXT_WIDTH * text.length));
      for (const child of one.children) place(child, depth + 1);
      one.y = one.children.length ? (one.children[0].y + one.children[one.children.length - 1].y) / 2 : 18 + down * lines++;
      one.solves = one.violations === 0 || one.children.some((child) => child.solves);
      placed.push(one);
    };
    const root = nodes.get(0);
    place(root, 0);
    const lefts = ends.map((_, depth) => ends.slice(0, depth).reduce((left, end) => left + end + CURVE, 18));
    for (const one of placed) one.x = lefts[one.depth];
    const width = lefts[lefts.length - 1] + ends[ends.length - 1], height = 18 + down * Math.max(lines, 1);
    const svg = node("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Search tree: ${counted(placed.length, "evaluated node")}`,
    });
    for (const one of placed) {
      for (const child of one.children) {
        const from = one.x + ends[one.depth], to = child.x - 10, middle = (from + to) / 2;
        const own = one.x + TEXT_AT + TEXT_WIDTH * Math.max(...one.label.map((text) => text.length));
        svg.append(node("path", {
          class: child.solves ? "hb-way" : "", d: `M${Math.min(own, from)} ${one.y}H${from}C${middle} ${one.y} ${middle} ${child.y} ${to} ${child.y}`,
        }));
      }
    }
    for (const one of placed) {
      const isSolved = one.violations === 0, made = node("g");
      const found = isSolved ? "solved" : one.violations === null ? "" : counted(Math.max(one.violations - 1, 1), "rule violation");
      made.append(
        node("title", {}, [name(one), one.cell === null ? "" : percent(one.probability), found].filter(Boolean).join(", ")),
        node("circle", { class: isSolved ? "hb-solved" : "", cx: one.x, cy: one.y, r: 10 }),
        node("text", { class: "hb-order", x: one.x, y: one.y + 4 }, isSolved ? "✓" : String(one.order)),
        node("text", { x: one.x + TEXT_AT, y: one.y + (one.label[1] ? -3 : 4) }, one.label[0]),
      );
      if (one.label[1]) made.append(node("text", { class: "hb-faint", x: one.x + TEXT_AT, y: one.y + 10 }, one.label[1]));
      svg.append(made);
    }
    return svg;
  }

  Object.assign(hrmBoard, { stepChart, searchTree });
})();
