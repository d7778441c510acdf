/* A board with controls to step through the reasoning. Loaded after board.js and charts.js.

hrmBoard.player(container, board, options) → player
    Puts the player into the element `container`. Options, all optional: `step` (shown first; default: the last one),
    `keys` (an element whose key presses count, such as `document`; default: the player itself), `heading` (false: no
    title and status), `side` (false: no charts and legend), `heat`, `candidates`, `symbols` (as in board.js),
    `onStep(step)` (called after every change).
player.show(step)        0 is the puzzle, 1 … board.steps.length are the steps
player.step              the step shown
player.play(), player.pause(), player.isPlaying
player.update(board, step)   replaces the board, for example when a step arrives; shows `step`, or the last one
player.remove()          stops and removes it

Keys: ← → a step, Home and End the puzzle and the last step, space plays and pauses. */
"use strict";
(() => {
  const { drawBoard, gridFigure, stepChart, searchTree, element } = hrmBoard;
  const SPEEDS = [["0.5", "half speed"], ["1", "normal speed"], ["2", "double speed"], ["4", "4 times"]];
  const STEP_MS = 700;
  const STATUS = {
    solved: ["solved", "hb-good"], answered: ["answered", "hb-neutral"], unsolved: ["not solved", "hb-bad"],
    multiple: ["more than one solution", "hb-neutral"], invalid: ["invalid puzzle", "hb-bad"],
  };

  function icon(d) {
    const svg = hrmBoard.node("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" });
    svg.append(hrmBoard.node("path", { d }));
    return svg;
  }

  function player(container, board, options = {}) {
    const shows = { heat: !!options.heat, candidates: !!options.candidates, symbols: !!options.symbols };
    const root = element("section", { class: "hb-player", role: "group", tabindex: "0" });
    const head = element("header"), demonstrations = element("div", { class: "hb-demonstrations hb-boards" });
    const stage = element("div", { class: "hb-stage" }), grid = element("div");
    const caption = element("p", { class: "hb-caption", "aria-live": "polite" });
    const controls = element("div", { class: "hb-controls" }), toggles = element("div", { class: "hb-toggles" });
    const side = element("div", { class: "hb-side" }), parts = element("div", { class: "hb-parts" });
    const button = (label, text, action, style = "") => {
      const made = element("button", { type: "button", "aria-label": label, title: label, class: style }, text);
      made.addEventListener("click", action);
      return made;
    };
    const first = button("the puzzle", icon("M3 3h2.5v12H3zM15 3v12L6 9z"), () => stepTo(0));
    const back = button("previous step", icon("M13 3v12L4 9z"), () => stepTo(now - 1));
    const next = button("next step", icon("M5 3v12l9-6z"), () => stepTo(now + 1));
    const last = button("last step", icon("M12.5 3H15v12h-2.5zM3 3v12l9-6z"), () => stepTo(board.steps.length));
    const playButton = button("play", "Play", () => (timer ? pause() : play()), "hb-play");
    const slider = element("input", { type: "range", min: "0", step: "1", "aria-label": "reasoning step" });
    const speed = element("select", { "aria-label": "speed" });
    for (const [value, name] of SPEEDS) speed.append(element("option", { value, ...(value === "1" ? { selected: "" } : {}) }, name));
    let now = 0, timer = null;

    const stepTo = (step) => { pause(); show(step); };
    slider.addEventListener("input", () => stepTo(Number(slider.value)));
    speed.addEventListener("change", () => { if (timer) { pause(); play(); } });
    controls.append(first, back, playButton, next, last, slider);

    function show(step) {
      now = Math.min(Math.max(step, 0), board.steps.length);
      caption.textContent = drawBoard(grid, board, now, shows);
      slider.value = String(now);
      slider.setAttribute("aria-valuetext", caption.textContent);
      first.disabled = back.disabled = now === 0;
      last.disabled = next.disabled = now === board.steps.length;
      if (options.side !== false) drawSide();
      if (options.onStep) options.onStep(now);
    }

    function play() {
      if (timer || !board.steps.length) return;
      if (now === board.steps.length) show(0);
      playButton.textContent = "Pause";
      playButton.setAttribute("aria-label", "pause");
      timer = setInterval(() => {
        show(now + 1);
        if (now === board.steps.length) pause();
      }, STEP_MS / Number(speed.value));
    }

    function pause() {
      clearInterval(timer);
      timer = null;
      playButton.textContent = "Play";
      playButton.setAttribute("aria-label", "play");
    }

    const chart = element("div"), legend = element("ul", { class: "hb-legend" });
    function drawSide() {
      if (board.steps.some((step) => step.halt !== null)) chart.replaceChildren(stepChart(board, now, stepTo));
      legend.replaceChildren(...legendOf(board, now, shows));
    }

    function toggle(name, label, isUseful) {
      if (!isUseful) return;
      const box = element("input", { type: "checkbox" });
      box.checked = shows[name];
      box.addEventListener("change", () => { shows[name] = box.checked; show(now); });
      toggles.append(element("label", {}, box, label));
    }

    function fill() {
      const many = board.steps.length > 1;
      root.setAttribute("aria-label", `${board.title}, reasoning steps`);
      slider.max = String(board.steps.length);
      controls.hidden = !board.steps.length;
      head.replaceChildren(...(options.heading === false ? [] : heading(board)));
      toggles.replaceChildren();
      toggle("candidates", "candidates", board.kind !== "plan" && hasCandidates(board));
      toggle("heat", "confidence", board.steps.some((step) => step.confidence));
      toggle("symbols", "digits of the colors", board.kind === "colors");
      if (many) toggles.append(speed);
      demonstrations.replaceChildren(...board.demonstrations.map((pair, number) => element("div", { class: "hb-pair" },
        gridFigure(board, pair.input, `demonstration ${number + 1}`, {}, shows), element("span", { class: "hb-arrow", "aria-hidden": "true" }, "→"),
        gridFigure(board, pair.output, "output", {}, shows))));
      demonstrations.hidden = !board.demonstrations.length;
      side.replaceChildren();
      if (options.side === false) return;
      if (many && board.steps.some((step) => step.halt !== null)) {
        side.append(element("div", {}, element("h3", {}, `${hrmBoard.sentence(board.halt_name)}, and changed cells`), chart));
      }
      side.append(element("div", {}, element("h3", {}, "Legend"), legend));
      parts.classList.toggle("hb-wide", true);
    }

    function fillTree() {
      const found = root.querySelector(".hb-search");
      if (found) found.remove();
      if (!board.search || options.side === false) return;
      const more = board.search.left_out ? ` ${hrmBoard.counted(board.search.left_out, "more node")} never reached are left out.` : "";
      root.append(element("div", { class: "hb-search" }, element("h3", {}, "Search tree"),
        element("p", { class: "hb-dim" }, `Each node pins one more cell and lets the model reason again; the number is the order.${more}`),
        element("div", { class: "hb-tree", tabindex: "0" }, searchTree(board))));
    }

    function onKey(event) {
      const target = event.target.tagName;
      if (event.ctrlKey || event.metaKey || event.altKey || target === "SELECT" || target === "TEXTAREA") return;
      if (target === "INPUT" && event.target !== slider) return;
      const steps = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: board.steps.length };
      if (event.key in steps) stepTo(steps[event.key]);
      else if (event.key === " " && target !== "BUTTON") { if (timer) pause(); else play(); }
      else return;
      event.preventDefault();
    }
    const keys = options.keys || root;
    keys.addEventListener("keydown", onKey);

    stage.append(demonstrations, grid, caption, controls, toggles);
    parts.append(stage);
    if (options.side !== false) parts.append(side);
    root.append(head, parts);
    container.replaceChildren(root);
    const update = (other, step) => { board = other; fill(); fillTree(); show(step === undefined ? board.steps.length : step); };
    update(board, options.step);
    return {
      element: root, show: stepTo, play, pause, update,
      get step() { return now; },
      get isPlaying() { return timer !== null; },
      remove() { pause(); keys.removeEventListener("keydown", onKey); root.remove(); },
    };
  }

  function heading(board) {
    const [name, style] = STATUS[board.status] || ["", ""];
    const title = element("h2", {}, `${board.title} `);
    if (name) title.append(element("span", { class: `hb-status ${style}` }, name));
    const facts = [board.where, board.how].filter(Boolean).join(", ");
    return [title, ...[facts, board.reason].filter(Boolean).map((text) => element("p", { class: "hb-dim" }, text))];
  }

  const hasCandidates = (board) => board.steps.some((step) => step.candidates && Object.keys(step.candidates).length);

  /* Samples of the marks that occur, each a board of one cell. */
  function legendOf(board, now, shows) {
    const step = now ? board.steps[now - 1] : null, isPlan = board.kind === "plan", entries = [];
    const symbol = isPlan ? board.dot : board.kind === "colors" ? "3" : "5";
    const sample = (label, marks, other = {}) => {
      const cell = { rows: 1, columns: 1, symbols: other.symbol || symbol, ruled_rows: [], ruled_columns: [] };
      const figure = gridFigure({ ...board, ...other, palette: board.kind === "colors" ? board.palette : {} }, cell, "", marks, { heat: !!marks.confidence, candidates: !!marks.candidates });
      const svg = figure.querySelector("svg");
      svg.setAttribute("aria-hidden", "true");
      entries.push(element("li", {}, svg, label));
    };
    if (isPlan) {
      sample("wall", {}, { symbol: board.solid });
      sample("start and goal", {}, { symbol: "S" });
    } else if (board.fills_in) {
      sample("given", { given: [0] });
    }
    if (step && board.fills_in) {
      if (now === board.steps.length && board.verified) sample(isPlan ? "path, verified" : "verified answer", { right: true });
      else sample(isPlan ? "the model's path" : "the model's answer", {});
    }
    const some = (name) => board.steps.some((one) => one[name].length);
    if (some("changed")) sample("changed since the step before", { changed: [0] });
    if (some("wrong") && isPlan) {
      sample("not part of the solution", { wrong: [0] });
      sample("missing from the path", { wrong: [0] }, { symbol: board.blank });
    } else if (some("wrong")) sample(board.fills_in ? "wrong: differs from the solution" : "wrong: differs from the expected output", { wrong: [0] });
    else if (some("conflicts")) sample("breaks a rule", { conflicts: [0] });
    if (shows.heat) sample("the stronger, the less certain the model is", { confidence: [30] });
    if (shows.candidates && board.kind === "symbols" && board.fills_in && hasCandidates(board)) {
      // Drawn as on a 9×9 board: on a large one, the digits of a single cell are too small for a legend.
      const nine = { ...board.puzzle, rows: 9, columns: 9, ruled_rows: [3, 6], ruled_columns: [3, 6] };
      sample("candidates: likely symbols", { candidates: { 0: [["2", 30], ["5", 70]] } }, { puzzle: nine });
    }
    return entries;
  }

  hrmBoard.player = player;
})();
