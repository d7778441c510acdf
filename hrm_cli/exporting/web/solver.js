/* Solves a puzzle as `hrm solve` does, with workers: one pass first; if its answer breaks a rule, a search that pins
cells (Sudoku, hrm_cli/evaluation/search.py) or rotated and reflected copies (mazes).

new hrmSolver.Pool(source, wasm, bytesOf)       source: code of a worker; bytesOf(name) → a model's file
hrmSolver.solve(pool, facts, cells, { onStep(record), onStage(text), nodes, seconds }) → result
    result: status (solved, unsolved, invalid, multiple), answer (cells), verified, reason, how, records, search, seconds
pool.stop() ends all work; a running solve is rejected with an error whose message is "stopped". */
"use strict";
const hrmSolver = (() => {
  const ROUND = 4, NODE_STEPS = 24, IMPOSSIBLE = 1e-4;

  class Pool {
    constructor(source, wasm, bytesOf) {
      this.wasm = wasm;
      this.bytesOf = bytesOf;
      this.address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      this.size = Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));
      this.workers = [];
      this.waiting = [];
      this.asked = 0;
    }

    ask(message, onStep) {
      return new Promise((resolve, reject) => {
        this.waiting.push({ message: { ...message, id: ++this.asked }, resolve, reject, onStep });
        this.next();
      });
    }

    next() {
      if (!this.waiting.length) return;
      let worker = this.workers.find((one) => !one.job);
      if (!worker && this.workers.length < this.size) worker = this.start();
      if (!worker) return;
      const job = (worker.job = this.waiting.shift()), { model } = job.message;
      if (!worker.loaded.has(model.name)) {
        worker.thread.postMessage({ type: "load", facts: model, bytes: this.bytesOf(model.name) });
        worker.loaded.add(model.name);
      }
      worker.thread.postMessage({ ...job.message, model: model.name });
    }

    start() {
      const worker = { thread: new Worker(this.address), job: null, loaded: new Set() };
      worker.thread.postMessage({ type: "start", wasm: this.wasm });
      worker.thread.onmessage = ({ data }) => {
        const { job } = worker;
        if (data.step) { if (job && job.onStep) job.onStep(data.step); return; }
        worker.job = null;
        if (job) {
          if (data.error) job.reject(new Error(data.error));
          else job.resolve(data.done);
        }
        this.next();
      };
      worker.thread.onerror = (event) => {
        event.preventDefault();
        if (worker.job) worker.job.reject(new Error(event.message || "the worker failed"));
        worker.job = null;
      };
      this.workers.push(worker);
      return worker;
    }

    stop() {
      const jobs = [...this.workers.map((worker) => worker.job), ...this.waiting].filter(Boolean);
      this.workers.forEach((worker) => worker.thread.terminate());
      this.workers = [];
      this.waiting = [];
      jobs.forEach((job) => job.reject(new Error("stopped")));
    }
  }

  async function solve(pool, facts, cells, options = {}) {
    const began = performance.now(), rules = hrmPuzzles.of(facts), stage = options.onStage || (() => {});
    const finished = (result) => ({ search: null, records: [], answer: null, verified: false, how: "", ...result, seconds: (performance.now() - began) / 1000 });
    const diagnosis = await pool.ask({ type: "diagnose", model: facts, cells });
    if (diagnosis.solutions === 0) return finished({ status: "invalid", reason: diagnosis.reason });
    stage("thinking");
    const first = await pool.ask({
      type: "run", model: facts, cells, tokens: rules.encode(cells), max_steps: facts.max_steps, adaptive: true, records: true,
    }, options.onStep);
    let best = first, how = steps(first.steps), search = null, effort = "";
    if (first.violations) {
      const seconds = options.seconds || 60, until = began + 1000 * seconds;
      const later = rules.domain === "sudoku"
        ? await searchPins(pool, facts, rules, cells, options.nodes || 64, until, stage)
        : await turnedCopies(pool, facts, rules, cells, until, stage);
      effort = later.words;
      search = later.search;
      if (later.best && later.best.violations < first.violations) {
        best = later.best;
        how = `${steps(best.steps)}, ${later.how}`;
      }
    }
    const verdict = rules.verify(cells, best.answer);
    let reason = verdict.reason;
    if (!verdict.ok && effort) reason = `no answer of ${effort} obeys the rules; the best: ${verdict.reason}`;
    if (diagnosis.solutions > 1) reason = `${diagnosis.reason}; ${verdict.ok ? "the answer is one of them" : `the answer breaks a rule: ${verdict.reason}`}`;
    const status = diagnosis.solutions > 1 ? "multiple" : verdict.ok ? "solved" : "unsolved";
    return finished({ status, answer: best.answer, verified: verdict.ok, reason, how, records: best.records, search });
  }

  const steps = (count) => `${count} step${count === 1 ? "" : "s"}`;

  /* Best-first search over pinned cells. A round of nodes runs at the same time. */
  async function searchPins(pool, facts, rules, cells, nodes, until, stage) {
    const V = facts.vocab_size, puzzle = rules.encode(cells), tree = [];
    const made = (tokens, cost, parent, cell, token, probability) => {
      tree.push({ number: tree.length, tokens, cost, parent, cell, token, probability, order: null, violations: null });
      return tree[tree.length - 1];
    };
    const frontier = [made(puzzle, 0, null, null, null, 1)];
    let tried = 0, best = null, winner = null;
    while (frontier.length && tried < nodes && performance.now() < until && !winner) {
      frontier.sort((a, b) => a.cost - b.cost || a.number - b.number);
      const round = frontier.splice(0, Math.min(ROUND, nodes - tried));
      round.forEach((node) => { node.order = ++tried; });
      stage(`the first answer breaks a rule; searching, node ${tried} of at most ${nodes}`);
      const found = await Promise.all(round.map((node) => pool.ask({
        type: "run", model: facts, cells, tokens: node.tokens, max_steps: NODE_STEPS, adaptive: false, records: false,
        milliseconds: Math.max(1, until - performance.now()),
      })));
      const solved = found.map((one, index) => ({ one, node: round[index] })).filter(({ one }) => one.violations === 0);
      round.forEach((node, index) => {
        const one = found[index];
        node.violations = one.violations;
        if (!best || one.violations < best.violations) best = one;
      });
      if (solved.length) {
        // As if all nodes had taken their steps together: the first to find an answer wins.
        solved.sort((a, b) => a.one.steps - b.one.steps || a.node.order - b.node.order);
        ({ one: best, node: winner } = solved[0]);
        break;
      }
      round.forEach((node, index) => {
        const chances = normalized(found[index].probabilities, V), cell = hrmPuzzles.cellToExpand(node.tokens, chances, V, rules.blank_token);
        if (cell < 0) return;
        const row = Array.from(chances.subarray(cell * V, (cell + 1) * V));
        const tokens = row.map((_, token) => token).filter((token) => row[token] > IMPOSSIBLE).sort((a, b) => row[b] - row[a] || a - b);
        for (const token of tokens) {
          const pinned = node.tokens.slice();
          pinned[cell] = token;
          frontier.push(made(pinned, node.cost - Math.log(row[token]), node.number, cell, token, row[token]));
        }
      });
    }
    const count = `${tried} search node${tried === 1 ? "" : "s"}`;
    const reached = tree.filter((node) => node.order !== null);
    return {
      best, how: `search of ${tried} node${tried === 1 ? "" : "s"}`, words: count,
      search: tried < 2 ? null : {
        nodes: reached.map((node) => ({
          number: node.number, parent: node.parent, cell: node.cell, symbol: node.token === null ? "" : hrmPuzzles.SYMBOLS[node.token - 2],
          probability: node.probability, order: node.order, violations: node.violations, refuted: false,
        })),
        left_out: tree.length - reached.length,
      },
    };
  }

  /* Mean probabilities, without padding and blanks. */
  function normalized(sums, V) {
    const found = Float64Array.from(sums);
    for (let at = 0; at < found.length; at += V) {
      found[at] = found[at + 1] = 0;
      let total = 0;
      for (let v = 0; v < V; v++) total += found[at + v];
      for (let v = 0; v < V; v++) found[at + v] /= Math.max(total, 1e-30);
    }
    return found;
  }

  async function turnedCopies(pool, facts, rules, cells, until, stage) {
    const puzzle = rules.encode(cells), copies = rules.orientations();
    let best = null, tried = 0;
    while (tried < copies.length && performance.now() < until && !(best && best.violations === 0)) {
      const some = copies.slice(tried, tried + pool.size);
      tried += some.length;
      stage(`the first answer is not a shortest path; trying copy ${tried} of ${copies.length}, rotated or reflected`);
      const found = await Promise.all(some.map((from) => pool.ask({
        type: "run", model: facts, cells, tokens: from.map((cell) => puzzle[cell]), from, max_steps: 2 * facts.max_steps, adaptive: false, records: false,
        milliseconds: Math.max(1, until - performance.now()),
      })));
      for (const one of found) if (!best || one.violations < best.violations) best = one;
    }
    return { best, how: `one of ${tried} rotated or reflected copies`, words: `${tried} copies`, search: null };
  }

  return { Pool, solve };
})();
