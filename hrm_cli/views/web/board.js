/* Draws boards (hrm_cli/views/web/boards.py says what is in one) as SVG. No dependency, no network.

hrmBoard.drawBoard(container, board, step, options)
    Draws step 0 (the puzzle) or 1 … board.steps.length into the element `container`, instead of its content. Next to it
    stands the input, if the answer does not fill in the puzzle itself (ARC, own puzzles). Returns the caption as text.
hrmBoard.gridFigure(board, grid, caption, marks, options)
    A figure element with one grid and a caption. `marks` holds sets of positions, all optional: given, changed, wrong,
    conflicts; also confidence and candidates as in a step, and `right` (true: the answer is verified).
hrmBoard.setTheme("light" | "dark" | "auto")
    Overrides the system's choice for the whole page.

Options, all optional: changed, wrong (false hides the marks), heat (true: cells are shaded by the model's doubt),
candidates (true: likely symbols as small digits in uncertain cells), symbols (true: colored cells also show their symbol).

All texts enter the page as text, never as HTML. Nothing relies on color alone: changed cells have an outline, wrong
ones a line under the symbol or a cross, given ones are bold. */
"use strict";
const hrmBoard = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const U = 20; // units of a cell's side
  const LARGEST_DESCRIBED = 1024; // cells of a grid whose rows are also given as text to screen readers

  /* A page whose content security policy forbids style attributes still allows scripts to set styles. */
  function setAttribute(made, key, value) {
    if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value);
  }

  function node(name, attributes = {}, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) setAttribute(made, key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function element(name, attributes = {}, ...content) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) setAttribute(made, key, value);
    made.append(...content);
    return made;
  }

  const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const percent = (share) => `${Math.round(100 * share)} %`;

  /* Paths of filled cells, one for each style: a row of equal cells becomes one rectangle. */
  function fills(grid, styleOf) {
    const paths = new Map();
    for (let row = 0; row < grid.rows; row++) {
      for (let column = 0; column < grid.columns;) {
        const style = styleOf(row * grid.columns + column);
        let end = column + 1;
        while (end < grid.columns && styleOf(row * grid.columns + end) === style) end++;
        if (style) {
          const width = (end - column) * U;
          paths.set(style, `${paths.get(style) || ""}M${column * U} ${row * U}h${width}v${U}h${-width}z`);
        }
        column = end;
      }
    }
    return paths;
  }

  const insetBoxes = (grid, cells, inset) => [...cells].map((cell) => {
    const x = (cell % grid.columns) * U + inset, y = Math.floor(cell / grid.columns) * U + inset, side = U - 2 * inset;
    return `M${x} ${y}h${side}v${side}h${-side}z`;
  }).join("");

  const crosses = (grid, cells) => [...cells].map((cell) => {
    const x = (cell % grid.columns) * U, y = Math.floor(cell / grid.columns) * U, a = 0.28 * U, b = U - 2 * a;
    return `M${x + a} ${y + a}l${b} ${b}m0 ${-b}l${-b} ${b}`;
  }).join("");

  const rings = (grid, cells, r) => [...cells].map((cell) => {
    const x = (cell % grid.columns) * U + U / 2, y = Math.floor(cell / grid.columns) * U + U / 2;
    return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  }).join("");

  function gridSvg(board, grid, marks = {}, options = {}) {
    const symbols = Array.from(grid.symbols), { rows, columns } = grid;
    const set = (name) => (options[name] === false ? new Set() : new Set(marks[name] || []));
    const given = new Set(marks.given || []), changed = set("changed"), wrong = set("wrong");
    if (options.wrong !== false) for (const cell of marks.conflicts || []) wrong.add(cell);
    const svg = node("svg", {
      class: `hb-grid hb-${board.kind}`, role: "img", "aria-label": marks.label || "grid",
      viewBox: `-1.5 -1.5 ${columns * U + 3} ${rows * U + 3}`,
    });
    if (symbols.length <= LARGEST_DESCRIBED) {
      const lines = [];
      for (let row = 0; row < rows; row++) lines.push(symbols.slice(row * columns, (row + 1) * columns).join(" "));
      svg.append(node("desc", {}, lines.join("\n")));
    }
    svg.append(node("rect", { class: "hb-back", width: columns * U, height: rows * U }));
    const heat = options.heat && marks.confidence, isTinted = Object.keys(board.palette).length > 0;
    const doubt = (cell) => (heat && !given.has(cell) ? Math.round((100 - marks.confidence[cell]) / 10) : 0);
    for (const [style, d] of fills(grid, (cell) => colorOf(board, symbols[cell]))) {
      svg.append(node("path", style.startsWith("hb-") ? { class: style, d } : { fill: style, d }));
    }
    if (board.kind !== "plan") {
      const isGiven = (cell) => (given.has(cell) && !board.palette[symbols[cell]] ? "hb-givencell" : "");
      for (const [style, d] of fills(grid, isGiven)) svg.append(node("path", { class: style, d }));
    }
    if (heat) {
      for (const [level, d] of fills(grid, doubt)) svg.append(node("path", { class: "hb-heat", opacity: 0.08 * level, d }));
    } else if (changed.size && !isTinted) {
      // Walls keep their color; their outline is drawn below.
      const open = [...changed].filter((cell) => symbols[cell] !== board.solid);
      svg.append(node("path", { class: "hb-changed", d: insetBoxes(grid, open, 0.9) }));
    }
    svg.append(...lines(board, grid));
    if (changed.size && (heat || isTinted || board.kind === "plan")) {
      const d = insetBoxes(grid, changed, 1.5);
      if (isTinted) svg.append(node("path", { class: "hb-outline hb-outlineedge", "stroke-width": 2.8, d }));
      svg.append(node("path", { class: "hb-outline", "stroke-width": 1.5, d }));
    }
    if (board.kind === "plan") marksOfPlan(svg, board, grid, symbols, wrong, marks);
    else symbolsOf(svg, board, grid, symbols, { given, wrong, marks, options });
    if (board.kind !== "symbols" && wrong.size) {
      const isMissing = (cell) => board.kind === "plan" && symbols[cell] === board.blank;
      const d = crosses(grid, [...wrong].filter((cell) => !isMissing(cell)));
      svg.append(node("path", { class: "hb-missed", d: rings(grid, [...wrong].filter(isMissing), 0.3 * U) }));
      svg.append(node("path", { class: "hb-crossedge", d }), node("path", { class: "hb-cross", d }));
    }
    if (heat && columns <= 16 && board.kind !== "plan") percents(svg, grid, given, marks.confidence);
    svg.append(node("rect", { class: "hb-frame", width: columns * U, height: rows * U, rx: 1 }));
    return svg;
  }

  function colorOf(board, symbol) {
    if (symbol === board.solid) return "hb-wall";
    return board.palette[symbol] || "";
  }

  function lines(board, grid) {
    const { rows, columns } = grid;
    if (board.kind === "plan") return [];
    let thin = "", thick = "";
    const add = (path, isThick) => { if (isThick) thick += path; else thin += path; };
    for (let row = 1; row < rows; row++) add(`M0 ${row * U}h${columns * U}`, grid.ruled_rows.includes(row));
    for (let column = 1; column < columns; column++) add(`M${column * U} 0v${rows * U}`, grid.ruled_columns.includes(column));
    return [node("path", { class: "hb-mesh", d: thin }), node("path", { class: "hb-rule", d: thick })];
  }

  function symbolsOf(svg, board, grid, symbols, { given, wrong, marks, options }) {
    const showsSymbols = board.kind !== "colors" || options.symbols;
    // A verified answer is shown as it is, however probable it was.
    const candidates = (options.candidates && !marks.right && marks.candidates) || {};
    let under = "";
    symbols.forEach((symbol, cell) => {
      const x = (cell % grid.columns) * U, y = Math.floor(cell / grid.columns) * U;
      const likely = candidates[cell];
      if (likely && likely.length > 1) {
        // The likely symbols take the place of the answer, so that nothing is marked as wrong.
        smallSymbols(svg, board, likely, x, y);
      } else if (symbol !== board.blank || board.kind === "colors") {
        const style = wrong.has(cell) && board.kind === "symbols" ? "hb-wrong" : given.has(cell) ? "hb-given"
          : board.palette[symbol] ? "hb-ontint" : board.fills_in ? (marks.right ? "hb-right" : "") : "hb-plain";
        if (showsSymbols) svg.append(textIn(symbol, x, y, style, board));
      }
      if (wrong.has(cell) && board.kind === "symbols" && !(likely && likely.length > 1)) under += `M${x + 4} ${y + U - 2.6}h${U - 8}`;
    });
    if (under) svg.append(node("path", { class: "hb-under", d: under }));
  }

  function textIn(symbol, x, y, style, board) {
    const letters = Array.from(symbol), long = letters.length;
    const shown = long > 7 ? `${letters.slice(0, 6).join("")}…` : symbol;
    const size = long > 1 ? Math.min(0.55 * U, (1.2 * U) / Math.min(long, 7)) : 0.64 * U;
    const made = node("text", { class: style, x: x + U / 2, y: y + U / 2 + 0.355 * size, "font-size": size.toFixed(2) }, shown);
    if (board.kind === "colors") {
      setAttribute(made, "style", `fill:${isDark(board.palette[symbol]) ? "#fff" : "#000"}`);
    }
    if (shown !== symbol) made.append(node("title", {}, symbol));
    return made;
  }

  function isDark(color) {
    const parts = [1, 3, 5].map((place) => parseInt((color || "#000000").slice(place, place + 2), 16));
    return 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] < 110;
  }

  /* Each symbol of a Sudoku has its own place in the cell; other symbols stand in the order of the list. */
  function smallSymbols(svg, board, likely, x, y) {
    const places = board.domain === "sudoku" ? board.puzzle.columns : Math.max(4, likely.length);
    const across = Math.ceil(Math.sqrt(places)), side = (U - 2) / across;
    likely.forEach(([symbol, share], index) => {
      const place = board.domain === "sudoku" ? "123456789ABCDEFGHIJKLMNOP".indexOf(symbol) : index;
      const left = x + 1 + (place % across) * side, top = y + 1 + Math.floor(place / across) * side;
      const opacity = (0.4 + 0.006 * share).toFixed(2);
      if (board.kind === "colors") {
        const small = 0.8 * side * Math.sqrt(0.25 + 0.0075 * share);
        svg.append(node("rect", {
          x: left + (side - small) / 2, y: top + (side - small) / 2, width: small, height: small,
          fill: board.palette[symbol], stroke: "#fff", "stroke-width": 0.6,
        }));
        return;
      }
      const letters = Array.from(symbol).length, size = Math.min(side, (1.4 * side) / letters) * (across > 3 ? 1.05 : 0.95);
      svg.append(node("text", {
        class: "hb-candidate", x: left + side / 2, y: top + side / 2 + 0.36 * size, "font-size": size.toFixed(2), opacity,
      }, symbol));
    });
  }

  function percents(svg, grid, given, confidence) {
    confidence.forEach((share, cell) => {
      if (share >= 99 || given.has(cell)) return;
      const x = (cell % grid.columns + 1) * U - 1.2, y = (Math.floor(cell / grid.columns) + 1) * U - 1.4;
      svg.append(node("text", { class: "hb-percent", x, y, "font-size": 4.6 }, String(share)));
    });
  }

  function marksOfPlan(svg, board, grid, symbols, wrong, marks) {
    const isLarge = Math.max(grid.rows, grid.columns) > 48;
    const paths = { "hb-mark": "", "hb-mark hb-right": "", "hb-mark hb-wrong": "" };
    const ends = [];
    symbols.forEach((symbol, cell) => {
      const x = (cell % grid.columns) * U, y = Math.floor(cell / grid.columns) * U;
      if (symbol === board.dot) {
        const style = wrong.has(cell) ? "hb-mark hb-wrong" : marks.right ? "hb-mark hb-right" : "hb-mark";
        paths[style] += isLarge ? `M${x} ${y}h${U}v${U}h${-U}z` : rings(grid, [cell], 0.3 * U);
      } else if (symbol !== board.blank && symbol !== board.solid) {
        ends.push([symbol, x, y]);
      }
    });
    for (const [style, d] of Object.entries(paths)) if (d) svg.append(node("path", { class: style, d }));
    // The two ends stay visible in large mazes.
    const scale = Math.max(1, Math.max(grid.rows, grid.columns) / 40);
    for (const [symbol, x, y] of ends) {
      const side = U * scale, left = x + U / 2 - side / 2, top = y + U / 2 - side / 2;
      svg.append(node("rect", { class: "hb-end", x: left, y: top, width: side, height: side, rx: 0.12 * side }));
      svg.append(node("text", {
        class: "hb-endsymbol", x: x + U / 2, y: y + U / 2 + 0.25 * side, "font-size": (0.7 * side).toFixed(2),
      }, symbol));
    }
  }

  function gridFigure(board, grid, caption, marks = {}, options = {}) {
    const made = element("figure", { class: "hb-figure" });
    // A grid of few cells is not drawn as large as one of many.
    if (grid) made.style.maxWidth = `${Math.max(110, (board.fills_in ? 72 : 46) * grid.columns)}px`;
    if (grid && board.fills_in && grid.columns > 16) made.style.flexBasis = "720px";
    if (caption) made.append(element("figcaption", {}, caption));
    if (!grid || !grid.rows || !grid.columns) made.append(element("p", { class: "hb-none" }, "(no grid)"));
    else made.append(gridSvg(board, grid, { ...marks, label: marks.label || caption }, options));
    return made;
  }

  function captionOf(board, number) {
    if (number === 0) return "puzzle";
    const step = board.steps[number - 1], parts = [];
    if (step.halt !== null) parts.push(`${board.halt_name} ${percent(step.halt)}`);
    // At the end, `verified` says more than that nothing has changed.
    const isVerified = number === board.steps.length && board.verified;
    if (number > 1 && (step.changed.length || !isVerified)) parts.push(`${counted(step.changed.length, "cell")} changed`);
    if (step.wrong.length) parts.push(`${step.wrong.length.toLocaleString("en")} wrong`);
    else if (step.conflicts.length) parts.push(`${counted(step.conflicts.length, "cell")} in conflict`);
    if (isVerified) parts.push("verified");
    return `step ${step.step}${parts.length ? `: ${parts.join(", ")}` : ""}`;
  }

  function drawBoard(container, board, number, options = {}) {
    const last = board.steps.length, shown = Math.min(Math.max(Math.round(number), 0), last);
    const step = shown ? board.steps[shown - 1] : null, caption = captionOf(board, shown);
    const size = (grid) => `${grid.rows}×${grid.columns}`;
    const made = element("div", { class: "hb-boards" });
    if (board.fills_in) {
      const label = `${board.title}, ${caption}`;
      const right = shown === last && board.verified;
      made.append(gridFigure(board, step || board.puzzle, "", { ...step, given: board.given, right, label }, options));
    } else {
      made.classList.add("hb-two");
      made.append(gridFigure(board, board.puzzle, `input, ${size(board.puzzle)}`));
      if (step) made.append(gridFigure(board, step, `answer, ${size(step)}`, { ...step, label: `answer, ${caption}` }, options));
      if (board.second && shown === last && String(board.second.symbols) !== String(step && step.symbols)) {
        made.append(gridFigure(board, board.second, `second answer, ${size(board.second)}`));
      }
      if (board.truth && shown === last) made.append(gridFigure(board, board.truth, `expected, ${size(board.truth)}`));
    }
    container.replaceChildren(made);
    return caption;
  }

  function setTheme(theme) {
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
  }

  const sentence = (text) => text[0].toUpperCase() + text.slice(1);

  return { drawBoard, gridFigure, captionOf, setTheme, node, element, counted, percent, sentence };
})();
