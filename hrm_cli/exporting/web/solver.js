/* Solves a puzzle as `hrm solve` does, with workers: a pass; if that does not solve the puzzle, a search that pins cells
(hrm_cli/evaluation/search.py); for mazes, unless all copies get the same answer, rotated and reflected copies instead. The
search for a Sudoku begins while the pass still runs.

new hrmSolver.Pool(source, wasm, bytesOf)       source: code of a worker; bytesOf(model) → the bytes of its file
hrmSolver.solve(pool, facts, cells, { onStep(record), onStage(text), nodes, seconds }) → result
    result: status (solved, unsolved, invalid, multiple), answer (cells), verified, reason, how, records, search, work (steps of everything), seconds
pool.stop() ends all work; a running solve is rejected with an error whose message is "stopped". */
"use strict";
const hrmSolver = (() => {
  const NODE_STEPS = 24, ROUND = 4;

  class Pool {
    constructor(source, wasm, bytesOf) {
      this.wasm = wasm;
      this.bytesOf = bytesOf;
      this.address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      this.size = Math.min(8, navigator.hardwareConcurrency || 2);
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
        worker.thread.postMessage({ type: "load", facts: model, bytes: this.bytesOf(model) });
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
    const finished = (result) => ({ search: null, records: [], answer: null, verified: false, how: "", work: 0, ...result, seconds: (performance.now() - began) / 1000 });
    const diagnosis = await pool.ask({ type: "diagnose", model: facts, cells });
    if (diagnosis.solutions === 0) return finished({ status: "invalid", reason: diagnosis.reason });
    stage("thinking");
    const until = began + 1000 * (options.seconds || 60), tries = rules.domain === "sudoku" || facts.is_equivariant ? searchPins : turnedCopies;
    const { best, how, effort, search, work } = await tries(new Pass(pool, facts, rules, cells, until, options.onStep), stage, options.nodes || 64);
    const verdict = rules.verify(cells, best.answer);
    let reason = verdict.reason;
    if (!verdict.ok && effort) reason = `no answer of ${effort} obeys the rules; the best: ${verdict.reason}`;
    if (diagnosis.solutions > 1) reason = `${diagnosis.reason}; ${verdict.ok ? "the answer is one of them" : `the answer breaks a rule: ${verdict.reason}`}`;
    const status = diagnosis.solutions > 1 ? "multiple" : verdict.ok ? "solved" : "unsolved";
    return finished({ status, answer: best.answer, verified: verdict.ok, reason, how, records: best.records, search, work });
  }

  const steps = (count) => `${count} step${count === 1 ? "" : "s"}`;

  /* The first pass over a puzzle, in portions: until the model halts or has taken its steps. */
  class Pass {
    constructor(pool, facts, rules, cells, until, onStep) {
      Object.assign(this, { pool, facts, rules, cells, until, onStep, taken: 0, state: null, best: null, records: [], isOver: false });
      this.tokens = rules.encode(cells);
    }

    async further(count) {
      const one = await this.pool.ask({
        type: "run", model: this.facts, cells: this.cells, tokens: this.tokens, state: this.state, taken: this.taken,
        max_steps: Math.min(count, this.facts.max_steps - this.taken), adaptive: true, records: true, milliseconds: Math.max(1, this.until - performance.now()),
      }, this.onStep);
      this.records.push(...one.records);
      Object.assign(this, { taken: one.taken, state: one.state, best: { ...one, records: this.records } });
      this.isOver = one.halted || this.taken >= this.facts.max_steps;
      this.isSolved = one.violations === 0 && this.isOver;
      return one;
    }
  }

  /* Best-first search over pinned cells. The pass is its root: if the model has not halted after the steps of a node,
     the search begins, and the pass goes on beside it. Each worker takes a node as soon as it is free. A maze has no blank
     cells, so that a node gives no part of the answer: its nodes take as many steps as the pass, and are taken in rounds, so
     that improbable walls are tried before many further ones are added to a probable one. */
  async function searchPins(pass, stage, nodes) {
    const { pool, facts, rules, cells, until } = pass, V = facts.vocab_size, tree = [], known = new Set(), round = [];
    const isMaze = rules.blank_token === null, nodeSteps = isMaze ? Math.max(NODE_STEPS, facts.max_steps) : NODE_STEPS;
    const made = (tokens, cost, parent, cell, token, probability) => {
      tree.push({ number: tree.length, tokens, cost, parent, cell, token, probability, order: null, violations: null });
      return tree[tree.length - 1];
    };
    const root = made(pass.tokens, 0, null, null, null, 1), frontier = [];
    const isLate = () => performance.now() >= until;
    let tried = 1, best = null, winner = null, work = 0;

    function expand(node, sums) {
      for (const { cell, token, probability } of rules.pinsToTry(node.tokens, normalized(sums, V, rules.blank_token), V)) {
        const pinned = node.tokens.slice();
        pinned[cell] = token;
        if (known.has(String(pinned))) continue; // the same pins in another order
        known.add(String(pinned));
        frontier.push(made(pinned, node.cost - Math.log(probability), node.number, cell, token, probability));
      }
    }

    function nextNode() {
      if (!round.length) {
        frontier.sort((a, b) => a.cost - b.cost || a.number - b.number);
        round.push(...frontier.splice(0, isMaze ? ROUND : 1));
      }
      return round.shift();
    }

    async function tryNode(node) {
      node.order = ++tried;
      stage(`searching, node ${tried} of at most ${nodes}`);
      const one = await pool.ask({
        type: "run", model: facts, cells, tokens: node.tokens, max_steps: nodeSteps, adaptive: false, records: false,
        milliseconds: Math.max(1, until - performance.now()),
      });
      work += one.records.length;
      node.violations = one.violations;
      if (!best || one.violations < best.violations) best = one;
      if (one.violations === 0 && !winner) winner = node;
      else if (!winner) expand(node, one.probabilities);
    }

    async function continuePass() {
      await pass.further(nodeSteps);
      if (pass.isSolved && !winner) winner = root;
    }

    const one = await pass.further(nodeSteps);
    if (pass.isSolved) winner = root;
    else expand(root, one.probabilities);
    const running = new Set();
    let passTurn = pool.size > 1; // alone, a worker takes turns
    while (!winner) {
      const begin = (job) => {
        const entry = job.finally(() => running.delete(entry));
        entry.catch(() => {}); // of jobs that no longer matter; `race` reports the others
        running.add(entry);
      };
      while (running.size < pool.size && !isLate()) {
        const hasNode = round.length > 0 || (frontier.length > 0 && !(isMaze && running.size)); // rounds of a maze wait for each other
        const canSearch = hasNode && tried < nodes, canContinue = !pass.isOver && !pass.isRunning;
        if (canContinue && (passTurn || !canSearch)) {
          pass.isRunning = true;
          begin(continuePass().finally(() => { pass.isRunning = false; }));
          passTurn = pool.size > 1;
        } else if (canSearch) {
          begin(tryNode(nextNode()));
          passTurn = true;
        } else break;
      }
      if (!running.size) break;
      await Promise.race(running);
    }
    root.order = 1;
    root.violations = pass.best.violations;
    const isPass = winner === root || !best || best.violations >= pass.best.violations;
    const reached = tree.filter((node) => node.order !== null), count = `${tried} search node${tried === 1 ? "" : "s"}`;
    return {
      best: isPass ? pass.best : best, how: isPass ? steps(pass.taken) : `${steps(best.steps)}, search of ${tried} nodes`,
      effort: tried > 1 ? count : "", work: work + pass.taken,
      search: tried < 2 || isPass ? null : {
        nodes: reached.map((node) => ({
          number: node.number, parent: node.parent, cell: node.cell, symbol: node.token === null ? "" : rules.text([node.token - 1]),
          probability: node.probability, order: node.order, violations: node.violations, refuted: false,
        })),
        left_out: tree.length - reached.length,
      },
    };
  }

  /* Mean probabilities, without padding and blanks. */
  function normalized(sums, V, blank) {
    const found = Float64Array.from(sums);
    for (let at = 0; at < found.length; at += V) {
      found[at] = 0;
      if (blank !== null) found[at + blank] = 0;
      let total = 0;
      for (let v = 0; v < V; v++) total += found[at + v];
      for (let v = 0; v < V; v++) found[at + v] /= Math.max(total, 1e-30);
    }
    return found;
  }

  async function turnedCopies(pass, stage) {
    const { pool, facts, rules, cells, until } = pass, copies = rules.orientations();
    await pass.further(facts.max_steps);
    let { best } = pass, tried = 0, work = pass.taken;
    if (pass.isSolved) return { best, how: steps(pass.taken), effort: "", search: null, work };
    while (tried < copies.length && performance.now() < until && best.violations) {
      const some = copies.slice(tried, tried + pool.size);
      tried += some.length;
      stage(`trying copy ${tried} of ${copies.length}, rotated or reflected`);
      const found = await Promise.all(some.map((from) => pool.ask({
        type: "run", model: facts, cells, tokens: from.map((cell) => pass.tokens[cell]), from, max_steps: 2 * facts.max_steps, adaptive: false, records: false,
        milliseconds: Math.max(1, until - performance.now()),
      })));
      for (const one of found) {
        work += one.records.length;
        if (one.violations < best.violations) best = one;
      }
    }
    const how = best === pass.best ? steps(pass.taken) : `${steps(best.steps)}, one of ${tried} rotated or reflected copies`;
    return { best, how, effort: `${tried} copies`, search: null, work };
  }

  return { Pool, solve };
})();
