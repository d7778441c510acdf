/* The page of `hrm play`: a puzzle to edit, a model to solve it, its steps, hints. The server computes everything. */
"use strict";
(async () => {
  const { element } = hrmBoard;
  const $ = (id) => document.getElementById(id);
  const HISTORY = 300;
  const KEYS = {
    sudoku: "Arrow keys move, digits and letters enter, 0 or a period leaves a cell blank, Backspace erases, Enter solves.",
    maze: "Arrow keys move. # enters a wall, a period a free cell, S the start, G the goal. Draw with the mouse or a finger. Enter solves.",
    arc: "Arrow keys move, 0 to 9 enter colors. Draw with the mouse or a finger. Enter solves.",
    grids: "Arrow keys move, the first character of a symbol enters it, Enter solves.",
  };
  const offers = await (await fetch("offers.json")).json();
  const drafts = {}, histories = {};
  let kind = Object.keys(offers.kinds)[0], editors = [], active = null, tool = null, running = null, pasted = [], shownPasted = 0, players = [], solved = "";

  const facts = () => offers.kinds[kind];
  const models = () => offers.models.filter((model) => model.kinds.includes(kind));
  const chosen = () => models().find((model) => model.name === $("model").value) || models()[0];
  const isKnown = () => kind in KEYS;
  const filled = (rows, columns, value) => new Array(rows * columns).fill(value);
  const blank = () => (kind === "maze" ? playKinds.FREE : 0);
  const emptyGrid = (rows, columns) => ({ rows, columns, cells: filled(rows, columns, blank()) });
  const toRows = (grid) => Array.from({ length: grid.rows }, (_, row) => grid.cells.slice(row * grid.columns, (row + 1) * grid.columns));
  const fromRows = (rows) => ({ rows: rows.length, columns: rows[0].length, cells: rows.flat() });

  /* ---- drafts ---- */

  /* The one size that every offered model takes, or null. */
  function fixedShape() {
    const shapes = models().map((model) => model.shape);
    const first = shapes[0];
    return first && first.fixed && shapes.every((one) => one && one.fixed && one.rows === first.rows && one.columns === first.columns) ? first : null;
  }

  function usualShape() {
    const fixed = fixedShape(), shape = chosen().shape || models().map((model) => model.shape).find((one) => one && one.fixed);
    if (fixed) return [fixed.rows, fixed.columns];
    if (kind === "sudoku") return [shape && chosen().shape ? shape.rows : 9, shape && chosen().shape ? shape.rows : 9];
    if (kind === "maze") return shape ? [shape.rows, shape.columns] : [10, 10];
    return kind === "arc" ? [3, 3] : shape ? [Math.min(shape.rows, 5), Math.min(shape.columns, 5)] : [5, 5];
  }

  function newDraft() {
    const [rows, columns] = usualShape(), made = { touched: false, hints: [] };
    if (kind !== "arc") return { ...made, grid: emptyGrid(rows, columns) };
    const pair = () => ({ input: emptyGrid(3, 3), output: emptyGrid(3, 3) });
    return { ...made, train: [pair(), pair()], test: emptyGrid(3, 3), name: "drawn" };
  }

  const draft = () => (drafts[kind] ??= newDraft());

  function remember() {
    const history = (histories[kind] ??= []);
    history.push(JSON.stringify(draft()));
    if (history.length > HISTORY) history.shift();
    draft().touched = true;
  }

  function undo() {
    const history = histories[kind] || [];
    if (!history.length) return;
    drafts[kind] = { ...JSON.parse(history.pop()), touched: true };
    build();
  }

  function puzzleDocument() {
    const now = draft();
    if (kind === "arc") {
      const pairs = now.train.map((pair) => ({ input: toRows(pair.input), output: toRows(pair.output) }));
      return { kind, name: now.name, task: { train: pairs, test: [{ input: toRows(now.test), ...(now.expected ? { output: now.expected } : {}) }] } };
    }
    const cells = kind === "maze" ? now.grid.cells.map((value) => (value === playKinds.MARK ? playKinds.FREE : value)) : now.grid.cells;
    return { kind, grid: toRows({ ...now.grid, cells }) };
  }

  function take(puzzle) {
    if (puzzle.kind !== kind && offers.kinds[puzzle.kind]) choose(puzzle.kind);
    if (!offers.kinds[puzzle.kind]) throw new Error(`this is a ${puzzle.kind} puzzle, and none of the models here solves this kind`);
    remember();
    if (puzzle.task) {
      const { train, test } = puzzle.task;
      drafts[kind] = {
        touched: true, hints: [], name: puzzle.name || "drawn", test: fromRows(test[0].input), expected: test[0].output || null,
        train: train.map((pair) => ({ input: fromRows(pair.input), output: fromRows(pair.output) })),
      };
    } else drafts[kind] = { touched: true, hints: [], grid: fromRows(puzzle.grid), board: puzzle.board };
    build();
  }

  /* ---- the editor ---- */

  function gridEditor(grid, label) {
    const look = playKinds.look(kind, facts(), grid.rows, grid.columns, grid.cells, {
      label, symbols: chosen().symbols || models().map((model) => model.symbols).find(Boolean), moves: () => $("moves").checked,
    });
    const editor = new GridEditor(look, {
      paints: kind === "sudoku" ? null : () => (tool === null ? undefined : tool),
      onBefore: remember,
      onChange: (cell) => {
        grid.cells = editor.cells;
        if (grid === draft().test) draft().expected = null; // the solution of the pasted task
        changed(cell);
      },
      onSelect: (one) => { active = one; },
    });
    editor.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.ctrlKey) { event.preventDefault(); solve(); }
    });
    editors.push(editor);
    const frame = element("div", { class: "editor-frame" });
    frame.append(editor.element);
    return frame;
  }

  function changed(cell) {
    const now = draft();
    now.hints = now.hints.filter((one) => one !== cell);
    markCells();
    showStale();
  }

  /* Results of another puzzle than the one that is shown are dimmed. */
  function showStale() {
    document.body.classList.toggle("stale", players.length > 0 && isKnown() && solved !== JSON.stringify(puzzleDocument()));
  }

  function markCells() {
    if (kind === "arc" || !isKnown()) return;
    const { grid, hints } = draft();
    editors[0].mark(playKinds.conflicts(kind, facts(), grid.rows, grid.cells), isFilledIn() ? hints : []);
  }

  const isFilledIn = () => kind === "sudoku" || kind === "maze";

  function build() {
    const now = draft();
    editors = [];
    $("editor").replaceChildren();
    if (kind === "arc") buildTask(now);
    else if (isKnown()) $("editor").append(gridEditor(now.grid, `${facts().label}, ${now.grid.rows}×${now.grid.columns} cells`));
    else if (now.board) $("editor").append(hrmBoard.gridFigure(now.board, now.board.puzzle, "", { given: now.board.given }));
    active = editors[0] || null;
    document.body.classList.toggle("large", kind !== "arc" && isKnown() && now.grid.columns > 16);
    markCells();
    buildPalette();
    buildSizes();
    $("keys").textContent = KEYS[kind] || "Puzzles of this kind are pasted as text.";
    $("moves-label").hidden = kind === "maze" || !isKnown();
    $("example").disabled = $("level").disabled = !isKnown();
    $("level").hidden = kind === "arc" || kind === "grids";
    showStale();
  }

  function buildTask(now) {
    const sized = (grid, name, label) => {
      const part = element("div", { class: "task-grid" });
      const bar = element("div", { class: "row" }, element("span", { class: "dim" }, name), ...sizeInputs(grid, label));
      part.append(bar, gridEditor(grid, label));
      return part;
    };
    now.train.forEach((pair, number) => {
      const remove = element("button", { type: "button", "aria-label": `remove demonstration ${number + 1}` }, "Remove");
      remove.disabled = now.train.length === 1;
      remove.addEventListener("click", () => { remember(); draft().train.splice(number, 1); build(); });
      $("editor").append(element("fieldset", { class: "pair" }, element("legend", {}, `demonstration ${number + 1}`),
        sized(pair.input, "input", `demonstration ${number + 1}, input`), sized(pair.output, "output", `demonstration ${number + 1}, output`), remove));
    });
    const add = element("button", { type: "button" }, "Add a demonstration");
    add.addEventListener("click", () => { remember(); draft().train.push({ input: emptyGrid(3, 3), output: emptyGrid(3, 3) }); build(); });
    $("editor").append(add, element("fieldset", { class: "pair" }, element("legend", {}, "test"), sized(now.test, "input", "test input")));
  }

  function sizeInputs(grid, label) {
    const input = (side) => {
      const made = element("input", { type: "number", min: "1", max: String(facts().largest), value: String(grid[side]), "aria-label": `${label}: ${side}` });
      made.addEventListener("change", () => {
        const wanted = Math.min(Math.max(Math.round(Number(made.value)) || 1, 1), facts().largest);
        resize(grid, side === "rows" ? wanted : grid.rows, side === "columns" ? wanted : grid.columns);
      });
      return made;
    };
    return [input("rows"), element("span", { "aria-hidden": "true" }, "×"), input("columns")];
  }

  function resize(grid, rows, columns) {
    if (rows === grid.rows && columns === grid.columns) return;
    remember();
    const old = { ...grid };
    if (grid === draft().test) draft().expected = null;
    grid.cells = filled(rows, columns, blank());
    for (let row = 0; row < Math.min(rows, old.rows); row++) {
      for (let column = 0; column < Math.min(columns, old.columns); column++) grid.cells[row * columns + column] = old.cells[row * old.columns + column];
    }
    Object.assign(grid, { rows, columns });
    draft().hints = [];
    build();
  }

  function buildSizes() {
    const place = $("sizes"), grid = draft().grid, fixed = fixedShape();
    place.replaceChildren();
    if (kind === "arc" || !isKnown()) return;
    if (fixed) {
      place.append(element("span", { class: "dim" }, `${fixed.rows}×${fixed.columns}`));
    } else if (kind === "sudoku") {
      const select = element("select", { "aria-label": "size" });
      const sizes = models().every((model) => model.shape) ? [...new Set(models().map((model) => model.shape.rows))].sort((a, b) => a - b)
        : Object.keys(facts().boxes).map(Number);
      for (const size of new Set([...sizes, grid.rows])) {
        const option = element("option", { value: String(size) }, `${size}×${size}`);
        option.selected = size === grid.rows;
        select.append(option);
      }
      select.addEventListener("change", () => {
        remember();
        drafts[kind] = { touched: false, hints: [], grid: emptyGrid(Number(select.value), Number(select.value)) };
        build();
      });
      place.append(element("label", {}, "size ", select));
    } else {
      place.append(...sizeInputs(grid, "puzzle"));
    }
  }

  function buildPalette() {
    $("palette").replaceChildren();
    if (!editors.length) return;
    const entries = playKinds.palette(editors[0].look), paints = kind !== "sudoku";
    if (!paints) tool = null;
    else if (!entries.some((entry) => entry.value === tool)) tool = kind === "maze" ? 0 : entries[Math.min(1, entries.length - 1)].value;
    for (const entry of entries) {
      const button = element("button", { type: "button", class: `swatch ${entry.style}`, "aria-label": entry.name, title: entry.name },
        entry.text || { wall: "wall", free: "free" }[entry.style] || entry.text);
      if (entry.color) {
        button.style.background = entry.color;
        button.style.color = isDarkColor(entry.color) ? "#fff" : "#000";
      }
      if (paints) button.setAttribute("aria-pressed", String(entry.value === tool));
      button.addEventListener("click", () => {
        if (!paints) { (active || editors[0]).enter(entry.value); return; }
        tool = entry.value;
        for (const other of $("palette").children) other.setAttribute("aria-pressed", String(other === button));
      });
      $("palette").append(button);
    }
  }

  /* ---- kinds and models ---- */

  function choose(name) {
    kind = name;
    for (const tab of $("kinds").children) tab.setAttribute("aria-pressed", String(tab.dataset.kind === kind));
    $("model").replaceChildren(...models().map((model) => optionOf(model)));
    $("other").replaceChildren(element("option", { value: "" }, "none"), ...models().map((model) => optionOf(model)));
    $("other").closest("label").hidden = models().length < 2;
    $("effort-label").hidden = kind === "arc" || kind === "grids";
    $("adapt-label").hidden = kind !== "arc";
    pasted = [];
    $("several").hidden = true;
    clearResults();
    build();
  }

  const optionOf = (model) => element("option", { value: model.name }, model.trained_on ? `${model.label} (${model.trained_on})` : model.label);

  for (const [name, one] of Object.entries(offers.kinds)) {
    const tab = element("button", { type: "button", "data-kind": name }, one.label);
    tab.addEventListener("click", async () => {
      if (name === kind) return;
      if (running) {
        running.abort();
        await running.ended;
      }
      choose(name);
      startWithExample();
    });
    $("kinds").append(tab);
  }
  $("kinds").hidden = Object.keys(offers.kinds).length < 2;

  /* ---- requests ---- */

  async function ask(action, content) {
    let answer;
    try {
      answer = await fetch(`api/${action}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content), signal: running.signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw new Error("stopped");
      throw new Error("hrm play does not answer. Is it still running?");
    }
    const found = await answer.json();
    if (found.error) throw new Error(found.error);
    return found;
  }

  /* Runs a task that asks the server; one at a time. Only an example gives way to another task. */
  async function during(text, task, givesWay = false) {
    if (running && (givesWay || !running.givesWay)) return;
    if (running) {
      running.abort();
      await running.ended;
    }
    let end;
    running = Object.assign(new AbortController(), { givesWay, ended: new Promise((done) => { end = done; }) });
    const began = Date.now();
    const tick = () => { const seconds = Math.round((Date.now() - began) / 1000); $("busy").textContent = seconds ? `${text} ${seconds} s` : text; };
    const timer = setInterval(tick, 1000);
    tick();
    show("error", "");
    setBusy(!givesWay);
    $("example").disabled = true;
    document.body.setAttribute("aria-busy", "true");
    try { await task(); } catch (error) {
      if (error.message !== "stopped") show("error", error.message);
      else if (!givesWay) show("said", "Stopped.");
    }
    clearInterval(timer);
    running = null;
    $("busy").textContent = "";
    setBusy(false);
    end();
  }

  function setBusy(isBusy) {
    for (const id of ["solve", "hint", "read"]) $(id).disabled = isBusy;
    $("example").disabled = isBusy || !isKnown();
    $("stop").hidden = !isBusy;
    document.body.setAttribute("aria-busy", String(isBusy));
  }

  function show(id, text) {
    $(id).hidden = !text;
    $(id).textContent = text;
  }

  function asked(model) {
    const number = (id) => ($(id).value === "" ? null : Number($(id).value));
    return { puzzle: puzzleDocument(), model, max_steps: number("steps"), effort: $("effort").value, adapt: kind === "arc" ? number("adapt") : null };
  }

  function clearResults() {
    players.forEach((player) => player.remove());
    players = [];
    $("results").replaceChildren();
    $("together-label").hidden = true;
    document.body.classList.remove("stale");
    show("said", "");
    show("error", "");
  }

  function solve() {
    return during("Solving…", async () => {
      const puzzle = JSON.stringify(puzzleDocument());
      const names = [...new Set([$("model").value, $("other").value].filter(Boolean))];
      const found = [];
      for (const name of names) {
        try { found.push(await ask("solve", asked(name))); } catch (error) {
          if (names.length === 1 || running.signal.aborted) throw error;
          found.push({ board: null, reason: error.message, model: offers.models.find((model) => model.name === name).label });
        }
      }
      if (names.length === 1 && !found[0].board) { clearResults(); throw new Error(found[0].reason); }
      solved = puzzle;
      showResults(found);
      showStale();
    });
  }

  function showResults(found) {
    clearResults();
    const isPair = found.length > 1;
    $("results").className = [isPair ? "two" : "", isFilledIn() ? "" : "task"].join(" ");
    let isStepping = false;
    for (const result of found) {
      const part = element("section", { class: "result", "aria-label": result.model });
      const seconds = result.seconds === undefined ? "" : `, ${result.seconds < 10 ? result.seconds.toFixed(2) : Math.round(result.seconds)} s`;
      part.append(element("p", { class: "by" }, element("strong", {}, result.model), seconds));
      const place = element("div");
      part.append(place);
      $("results").append(part);
      if (!result.board) { place.append(element("p", { class: "error" }, result.reason)); continue; }
      const number = players.length;
      players.push(hrmBoard.player(place, { ...result.board, where: "" }, {
        side: !isPair,
        onStep: (step) => {
          if (!isPair || isStepping || !$("together").checked) return;
          isStepping = true;
          players.forEach((player, other) => { if (other !== number && player.step !== step) player.show(step); });
          isStepping = false;
        },
      }));
    }
    $("together-label").hidden = players.length < 2;
    if (window.innerWidth < 900) $("results").scrollIntoView({ block: "nearest" });
  }

  function hint() {
    return during("Looking for a hint…", async () => {
      const now = draft();
      const found = await ask("hint", { ...asked($("model").value), known: now.hints });
      if (found.cell === null) { show("said", found.note); return; }
      const confidence = found.confidence === null ? "" : `, of which the model is ${Math.floor(1000 * found.confidence) / 10} % certain`;
      const verified = found.verified ? "" : " Not verified: no rules check this answer.";
      if (isFilledIn()) {
        const value = kind === "maze" ? playKinds.MARK : found.value;
        editors[0].set(found.cell, value);
      }
      now.hints.push(found.cell);
      markCells();
      const what = kind === "maze" ? "is on the path" : `is ${found.symbol}`;
      show("said", `Hint: row ${found.row}, column ${found.column} ${what}${confidence}.${verified}`);
    });
  }

  function newExample(isFirst = false) {
    return during("Generating…", async () => {
      const now = draft(), grid = now.grid || now.test;
      const found = await ask("example", { kind, rows: grid.rows, columns: grid.columns, level: $("level").value });
      // Meanwhile, another kind or size may have been chosen, or a first cell filled in.
      if (draft() !== now || (isFirst && now.touched)) return;
      clearResults();
      pasted = [];
      $("several").hidden = true;
      take(found.puzzle);
    }, true);
  }

  function startWithExample() {
    if (isKnown() && !draft().touched) newExample(true);
  }

  function readText(text) {
    return during("Reading…", async () => {
      const found = await ask("read", { text, kind });
      pasted = found.puzzles;
      shownPasted = 0;
      $("paste-note").textContent = found.note;
      const all = pasted;
      showPasted(0);
      pasted = all;
      $("several").hidden = pasted.length < 2;
      show("said", pasted.length > 1 ? `${pasted.length} puzzles read` : "one puzzle read");
    });
  }

  function showPasted(number) {
    shownPasted = Math.min(Math.max(number, 0), pasted.length - 1);
    const all = pasted;
    clearResults();
    take(all[shownPasted]);
    pasted = all;
    $("several").hidden = pasted.length < 2;
    $("which").textContent = `puzzle ${shownPasted + 1} of ${pasted.length}`;
    $("earlier").disabled = shownPasted === 0;
    $("later").disabled = shownPasted === pasted.length - 1;
  }

  /* ---- controls ---- */

  $("solve").addEventListener("click", solve);
  $("hint").addEventListener("click", hint);
  $("stop").addEventListener("click", () => running && running.abort());
  $("example").addEventListener("click", () => newExample());
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", () => {
    remember();
    const now = draft();
    if (kind === "arc") drafts[kind] = { ...newDraft(), touched: true };
    else Object.assign(now, { hints: [], grid: emptyGrid(now.grid.rows, now.grid.columns) });
    clearResults();
    build();
    if (editors.length) editors[0].focus(0);
  });
  $("read").addEventListener("click", () => readText($("text").value));
  $("earlier").addEventListener("click", () => showPasted(shownPasted - 1));
  $("later").addEventListener("click", () => showPasted(shownPasted + 1));
  $("theme").addEventListener("change", () => hrmBoard.setTheme($("theme").value));
  $("model").addEventListener("change", () => { if (kind === "grids") build(); });
  document.addEventListener("keydown", (event) => {
    const isText = ["TEXTAREA", "INPUT"].includes(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !isText) { event.preventDefault(); undo(); }
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); solve(); }
    if (event.key === "Escape" && running) running.abort();
  });
  document.addEventListener("paste", (event) => {
    if (["TEXTAREA", "INPUT"].includes(event.target.tagName)) return;
    const text = event.clipboardData ? event.clipboardData.getData("text") : "";
    if (!text.trim()) return;
    event.preventDefault();
    $("text").value = text;
    readText(text);
  });

  for (const level of offers.levels) $("level").append(element("option", { value: level }, level));
  const EFFORT = { default: "the model's default", "one pass": "one pass" };
  for (const effort of offers.efforts) $("effort").append(element("option", { value: effort }, EFFORT[effort] || effort));
  $("effort").value = "default";
  $("steps").max = String(offers.most_steps);
  choose(kind);
  startWithExample();
})();
