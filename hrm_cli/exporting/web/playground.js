/* The page: a puzzle to edit, a model that solves it in workers, and its reasoning steps. */
"use strict";
(() => {
  const { element } = hrmBoard;
  const $ = (id) => document.getElementById(id);
  const LIVE_MS = 140, HISTORY = 300, SYMBOLS = hrmPuzzles.SYMBOLS;
  const data = JSON.parse($("data").textContent);
  const KEYS = {
    sudoku: "Arrow keys move, digits enter, 0 or a period leaves a cell blank, Backspace erases, Enter solves, Ctrl V pastes a puzzle.",
    maze: "Arrow keys move; # enters a wall, a period a free cell, S the start, G the goal. Or draw with the mouse or a finger. Enter solves.",
  };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const pool = new hrmSolver.Pool($("worker-source").textContent, bytes(data.wasm), (model) => bytes($(`weights-${model.weights}`).textContent));
  const drafts = {}, histories = {}, shown = {};
  let facts = null, rules = null, editor = null, tool = 0, player = null, running = 0;

  /* ---- models ---- */

  function choose(model) {
    if (running) stop();
    facts = model;
    rules = hrmPuzzles.of(model);
    for (const tab of $("models").children) tab.setAttribute("aria-pressed", String(tab.dataset.name === model.name));
    drafts[model.name] = drafts[model.name] || model.examples[0].cells.slice();
    $("keys").textContent = KEYS[model.domain];
    $("moves-label").hidden = model.domain !== "sudoku";
    $("lead").textContent = `A neural network of ${model.parameters.toLocaleString("en")} parameters runs inside this page. It works offline, and nothing that you type leaves your device.`;
    $("examples").replaceChildren(element("span", { class: "dim" }, "Examples:"), ...model.examples.map((example) => {
      const button = element("button", { type: "button" }, example.name);
      button.addEventListener("click", () => { take(example.cells); solve(); });
      return button;
    }));
    build();
    about(model);
    hideMessages();
    showResult(shown[model.name]);
  }

  /* ---- the puzzle ---- */

  function build() {
    const cells = drafts[facts.name], board = facts.board.puzzle, isMaze = facts.domain === "maze";
    const boxes = isMaze ? {} : { [board.rows]: [board.ruled_rows[0] || board.rows, board.ruled_columns[0] || board.columns] };
    const look = playKinds.look(facts.domain, { label: facts.title, symbols: SYMBOLS, boxes }, board.rows, board.columns, cells, {
      label: `${facts.title}, to fill in`, moves: () => $("moves").checked,
    });
    editor = new GridEditor(look, { paints: isMaze ? () => tool : null, onBefore: remember, onChange: changed });
    editor.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.ctrlKey) { event.preventDefault(); solve(); }
    });
    $("editor").replaceChildren(element("div", { class: "editor-frame" }));
    $("editor").firstChild.append(editor.element);
    palette(look, isMaze);
    mark();
  }

  function palette(look, paints) {
    $("palette").replaceChildren(...playKinds.palette(look).map((entry) => {
      const button = element("button", { type: "button", class: `swatch ${entry.style}`, "aria-label": entry.name, title: entry.name }, entry.text || entry.name);
      if (paints) button.setAttribute("aria-pressed", String(entry.value === tool));
      button.addEventListener("click", () => {
        if (!paints) { editor.enter(entry.value); return; }
        tool = entry.value;
        for (const other of $("palette").children) other.setAttribute("aria-pressed", String(other === button));
      });
      return button;
    }));
  }

  function remember() {
    const history = (histories[facts.name] = histories[facts.name] || []);
    history.push(editor.cells.slice());
    if (history.length > HISTORY) history.shift();
  }

  function changed() {
    drafts[facts.name] = editor.cells.slice();
    mark();
  }

  function mark() {
    editor.mark(rules.conflicts(editor.cells), []);
    const given = editor.cells.filter((cell) => cell > 0).length;
    $("count").textContent = facts.domain === "sudoku" ? `${given} given` : "";
    const result = shown[facts.name];
    document.body.classList.toggle("stale", !!result && String(result.cells) !== String(editor.cells));
  }

  function take(cells) {
    remember();
    editor.change(cells);
    changed();
  }

  function undo() {
    const history = histories[facts.name] || [];
    if (!history.length) return;
    editor.change(history.pop());
    changed();
  }

  /* A puzzle from text: the model whose puzzles have that many cells, and the cells. Throws an error for other text. */
  function read(text) {
    const lines = text.replace(/\r/g, "").split("\n").filter((line) => line.trim());
    if (lines.some((line) => /#/.test(line) && !/[1-9]/.test(line))) {
      const values = { "#": 0, " ": 1, ".": 1, S: 2, G: 3, o: 1, s: 2, g: 3 };
      const wide = Math.max(...lines.map((line) => line.length));
      const model = data.models.find((one) => one.domain === "maze" && one.board.puzzle.rows === lines.length && one.board.puzzle.columns === wide);
      if (!model) throw new Error(`found a maze of ${lines.length}×${wide}; this page has models for ${titles()}`);
      const cells = lines.flatMap((line) => Array.from(line.padEnd(wide), (letter) => values[letter]));
      if (cells.includes(undefined)) throw new Error("a maze has the characters # (wall), . or space (free), S and G");
      return { model, cells };
    }
    const letters = Array.from(lines.join("").replace(/[\s|+,;-]/g, "").toUpperCase());
    const model = data.models.find((one) => one.domain === "sudoku" && one.seq_len === letters.length);
    if (!model) throw new Error(`found ${letters.length} cells; this page has models for ${titles()}`);
    const cells = letters.map((letter) => (".0_*".includes(letter) ? 0 : SYMBOLS.indexOf(letter) + 1 || -1));
    const wrong = cells.findIndex((cell) => cell < 0 || cell > model.board.puzzle.rows);
    if (wrong >= 0) throw new Error(`"${letters[wrong]}" in place ${wrong + 1} is neither a digit from 1 to ${model.board.puzzle.rows} nor a blank`);
    return { model, cells };
  }

  const titles = () => data.models.map((model) => model.title).join(", ");

  function takeText(text) {
    try {
      const { model, cells } = read(text);
      if (model !== facts) choose(model);
      take(cells);
      hideMessages();
      editor.focus();
    } catch (error) {
      fail(error.message);
    }
  }

  /* ---- solving ---- */

  function boardOf(cells, records, result) {
    const template = facts.board, isMaze = facts.domain === "maze", given = rules.given(cells);
    const grid = (values) => ({ ...template.puzzle, symbols: rules.text(values) });
    const name = (value) => (isMaze ? rules.text([value]) : SYMBOLS[value - 1]);
    const steps = records.map((record, index) => {
      const before = index ? records[index - 1].cells : null, candidates = {};
      for (const [cell, likely] of Object.entries(record.candidates || {})) {
        if (!given.includes(Number(cell))) candidates[cell] = likely.map(([value, share]) => [name(value), share]);
      }
      return {
        ...grid(record.cells), step: record.step, halt: record.halt, confidence: record.confidence, wrong: [], candidates,
        changed: before ? record.cells.flatMap((value, cell) => (value !== before[cell] ? [cell] : [])) : [],
        conflicts: rules.conflicts(record.cells),
      };
    });
    return {
      ...template, puzzle: grid(cells), given, steps, status: null, ...(result ? {
        status: result.status, verified: result.verified, reason: "", how: result.how, answer: result.answer && grid(result.answer), search: result.search,
      } : {}),
    };
  }

  async function solve() {
    if (running) stop();
    const now = (running = performance.now()), model = facts, cells = editor.cells.slice(), live = [];
    let drawn = 0, updates = 0, isTrying = false;
    hideMessages();
    busy("starting");
    delete shown[model.name];
    document.body.classList.remove("stale");
    if (window.innerWidth < 900) $("reasoning-title").scrollIntoView({ behavior: "auto", block: "start" });
    try {
      const result = await hrmSolver.solve(pool, model, cells, {
        onStage(text) {
          if (running !== now) return;
          isTrying = text !== "thinking";
          busy(text);
        },
        onStep(record) {
          if (running !== now) return;
          live.push(record);
          if (!isTrying) busy(`thinking, step ${record.step}`);
          if (performance.now() - drawn < LIVE_MS) return;
          drawn = performance.now();
          draw(boardOf(cells, live, null), live.length);
          updates++;
        },
      });
      if (running !== now) return;
      shown[model.name] = { ...result, cells };
      showResult(shown[model.name], updates < 4);
    } catch (error) {
      if (running === now && error.message !== "stopped") fail(error.message);
    } finally {
      if (running === now) { running = 0; busy(""); }
    }
  }

  function stop() {
    running = 0;
    pool.stop();
    busy("");
  }

  function draw(board, step) {
    if (player) player.update(board, step);
    else player = hrmBoard.player($("player"), board, { heading: false, step, candidates: true });
  }

  /* Shows a finished result, from its beginning as an animation if `plays`. */
  function showResult(result, plays = false) {
    if (player) { player.remove(); player = null; }
    $("player").replaceChildren();
    if (!result) {
      $("player").append(element("p", { class: "dim empty" }, "Press Solve, and watch the model's answer change from step to step."));
      return;
    }
    verdict(result);
    if (!result.records.length) return;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    draw(boardOf(result.cells, result.records, result), plays && !isStill ? 0 : result.records.length);
    if (plays && !isStill) player.play();
  }

  function verdict(result) {
    const seconds = `${result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds)} s`;
    const texts = {
      solved: ["✓ Solved.", `The rules verify the answer. ${result.how}, ${seconds}.`],
      multiple: [result.verified ? "✓ An answer, not the only one." : "✗ Not solved.", ""],
      unsolved: ["✗ Not solved.", `The model found no answer that obeys the rules. ${result.how}, ${seconds}.`],
      invalid: ["This puzzle has no solution.", ""],
    };
    const [title, text] = texts[result.status], reason = result.reason ? `${result.reason[0].toUpperCase()}${result.reason.slice(1)}.` : "";
    $("verdict").replaceChildren(element("strong", {}, title), ` ${[text, reason].filter(Boolean).join(" ")}`);
    $("verdict").className = `said ${result.status === "solved" ? "good" : result.status === "multiple" ? "" : "bad"}`;
    $("verdict").hidden = false;
    $("verdict").dataset.status = result.status;
  }

  function busy(text) {
    $("busy").textContent = text;
    $("stop").hidden = !text;
    $("busy").classList.toggle("active", !!text);
  }

  function fail(text) {
    $("error").textContent = text;
    $("error").hidden = false;
  }

  function hideMessages() {
    $("error").hidden = $("verdict").hidden = true;
  }

  /* ---- about ---- */

  function about(model) {
    const { arch } = model, percent = (share) => `${(100 * share).toFixed(1)} %`;
    const core = arch.core === "hrm" ? "HRM: a slow and a fast module" : "TRM: one module for a slow and a fast state";
    const rows = [
      ["model", `${model.weights}: ${model.parameters.toLocaleString("en")} parameters`],
      ["architecture", `${core}; ${arch.H_cycles} × ${arch.L_cycles} cycles per step, hidden size ${arch.hidden_size}, mixer ${arch.mixer}; at most ${model.max_steps} steps`],
      ["trained on", model.trained_on],
      ["built-in knowledge", model.built_in_knowledge],
    ];
    const list = element("dl", {});
    for (const [name, text] of rows) list.append(element("dt", {}, name), element("dd", {}, text));
    $("about").replaceChildren(list);
    if (model.measured.length) {
      const table = element("table", {}, element("caption", {}, "Puzzles with every cell correct in one pass, without search or copies"));
      table.append(element("tr", {}, ...["measured on", "puzzles", "solved", "mean steps"].map((name) => element("th", { scope: "col" }, name))));
      for (const one of model.measured) {
        table.append(element("tr", {}, element("td", {}, one.on), ...[one.puzzles.toLocaleString("en"), percent(one.exact_accuracy), one.mean_steps.toFixed(1)].map((text) => element("td", { class: "number" }, text))));
      }
      $("about").append(element("div", { class: "scroll" }, table));
    }
    $("about").append(element("p", { class: "dim" }, model.domain === "sudoku"
      ? "Each step reads the puzzle again and refines an answer to all cells at once. The model stops when it expects its answer to be right. The rules only check the answer. If it breaks one, a search pins uncertain cells, one after the other, and lets the model reason again. A small exact solver counts the solutions of what you type, to tell you if there is none or more than one; it never changes an answer."
      : `Each step reads the maze again and marks a path in all cells at once. The model stops when it is certain of every cell. The rules only check the path. If it is broken or not the shortest, ${model.is_equivariant ? "a search turns free cells into walls where the model is uncertain, and the model reasons again on the maze with fewer ways through it" : "the model tries rotated and reflected copies of the maze"}.`));
  }

  /* ---- the page ---- */

  for (const model of data.models) {
    const tab = element("button", { type: "button", "data-name": model.name }, model.tab);
    tab.addEventListener("click", () => choose(model));
    $("models").append(tab);
  }
  $("models").hidden = data.models.length < 2;
  $("solve").addEventListener("click", solve);
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", () => take(editor.cells.map(() => (facts.domain === "maze" ? playKinds.FREE : 0))));
  $("undo").addEventListener("click", undo);
  $("read").addEventListener("click", () => takeText($("text").value));
  $("theme").addEventListener("change", () => hrmBoard.setTheme($("theme").value));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target.tagName !== "TEXTAREA") { event.preventDefault(); undo(); }
  });
  document.addEventListener("paste", (event) => {
    if (event.target.tagName === "TEXTAREA") return;
    event.preventDefault();
    takeText(event.clipboardData.getData("text"));
  });
  window.addEventListener("beforeprint", () => player && player.pause());
  window.hrmPlayground = { data, pool, solve: (name, cells) => hrmSolver.solve(pool, data.models.find((model) => model.name === name), cells) };
  choose(data.models[0]);
})();
