/* Measures the page of `hrm export --format html`: CPU time of a step, and steps for ten famous Sudoku (famous.py).

    node benchmarks/page_speed.js [PAGE.html …] [--steps 40] [--rounds 3] [--cores 1,2,4]

Without PAGE: docs/playground/index.html. Of several pages, steps are timed in turns, so that a busy machine slows all
alike; user CPU time, not the clock, is measured. With --cores, the search of hrm_cli/exporting/web/solver.js runs with
simulated workers: each takes one step per unit of time, and the figures are these units until the answer. */
"use strict";
const fs = require("fs"), path = require("path");
const ROOT = path.join(__dirname, ".."), MODEL = "sudoku-any-size";
const options = { steps: "40", rounds: "3", cores: "" }, pages = [];
for (let words = process.argv.slice(2); words.length;) {
  const word = words.shift();
  if (word.startsWith("--")) options[word.slice(2)] = words.shift();
  else pages.push(word);
}
if (!pages.length) pages.push(path.join(ROOT, "docs/playground/index.html"));

const famous = [...fs.readFileSync(path.join(__dirname, "famous.py"), "utf8").matchAll(/^ +"([^"]+)": "([.\d]{81})"/gm)]
  .map(([, name, text]) => ({ name, cells: Array.from(text, (cell) => Number(cell.replace(".", "0"))) }));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/* The worker of a page: answer(message) runs it here, and returns its last reply. */
function workerOf(file) {
  const text = fs.readFileSync(file, "utf8"), content = (id) => text.match(new RegExp(`id="${id}"[^>]*>([^]*?)</script>`))[1];
  const data = JSON.parse(content("data")), facts = data.models.find((model) => model.name === MODEL);
  const replies = [], self = {};
  // As a function, not in a context of its own, in which every use of `Math` would be slow.
  new Function("self", "postMessage", content("worker-source"))(self, (reply) => replies.push(reply));
  const answer = (message) => {
    replies.length = 0;
    self.onmessage({ data: message });
    const last = replies[replies.length - 1];
    if (last && last.error) throw new Error(last.error);
    return last && last.done;
  };
  answer({ type: "start", wasm: bytes(data.wasm) });
  answer({ type: "load", facts, bytes: bytes(content(`weights-${MODEL}`)) });
  return { file, facts, answer };
}

/* CPU milliseconds of a step. */
function stepTime({ answer }, count) {
  const { cells } = famous.find(({ name }) => name === "Easter Monster"), tokens = cells.map((cell) => cell + 1);
  const began = process.cpuUsage();
  const done = answer({ type: "run", id: 1, model: MODEL, cells, tokens, max_steps: count, adaptive: false, records: false });
  return process.cpuUsage(began).user / 1000 / (done.records.length || count);
}

/* Has the interface of hrmSolver.Pool. Workers are simulated: a job ends as many units after its start as it has steps. */
class SimulatedPool {
  constructor(worker, size) {
    Object.assign(this, { worker, size, time: 0, waiting: [], running: [] });
  }

  ask(message) {
    return new Promise((resolve) => {
      this.waiting.push({ message, resolve });
      setImmediate(() => this.turn());
    });
  }

  turn() {
    while (this.waiting.length && this.running.length < this.size) {
      const job = this.waiting.shift(), done = this.worker.answer({ ...job.message, model: MODEL, id: 1 });
      this.running.push({ ...job, done, end: this.time + (done.records ? done.records.length : 0) });
    }
    if (!this.running.length) return;
    this.running.sort((a, b) => a.end - b.end);
    const job = this.running.shift();
    this.time = job.end;
    job.resolve(job.done);
    setImmediate(() => this.turn());
  }

  close() { this.waiting = []; this.running = []; }
}

async function search(worker, cores) {
  const web = (name) => path.join(ROOT, "hrm_cli/exporting/web", name);
  const solver = new Function("hrmPuzzles", `${fs.readFileSync(web("solver.js"), "utf8")}\nreturn hrmSolver;`)(require(web("puzzles.js")));
  const units = [];
  for (const { name, cells } of famous) {
    const pool = new SimulatedPool(worker, cores);
    const result = await solver.solve(pool, worker.facts, cells, { seconds: 1e6 });
    pool.close();
    units.push(pool.time);
    console.log(`${String(cores).padStart(5)}  ${name.padEnd(20)} ${result.status.padEnd(9)} ${String(pool.time).padStart(5)} ${String(result.work).padStart(6)}  ${result.how}`);
  }
  console.log(`${String(cores).padStart(5)}  until the answer: median ${median(units)}, at most ${Math.max(...units)} steps`);
}

(async () => {
  const workers = pages.map(workerOf), times = workers.map(() => []);
  console.log(`Node ${process.versions.node}, ${require("os").cpus()[0].model}`);
  workers.forEach((worker) => stepTime(worker, 4));
  for (let round = 0; round < Number(options.rounds); round++) {
    workers.forEach((worker, number) => times[number].push(stepTime(worker, Number(options.steps))));
  }
  workers.forEach(({ file }, number) => console.log(
    `${path.basename(file).padEnd(24)} ${median(times[number]).toFixed(1)} ms of CPU time a step (${times[number].map((time) => time.toFixed(1)).join(", ")})`));
  for (const cores of options.cores.split(",").filter(Boolean).map(Number)) {
    console.log("cores  puzzle               status    until   work  how");
    await search(workers[0], cores);
  }
})();
