// Run by test_page_search.py: node solver_check.js KERNELS ENGINE PUZZLES WORKER SOLVER CASE.json. Solves the puzzles as a page
// does, with workers that run here, one job after the other. Prints the results as JSON.
"use strict";
const fs = require("fs");
const [kernels, engine, puzzles, worker, solver, caseFile] = process.argv.slice(2);
const text = (file) => fs.readFileSync(file, "utf8"), bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const given = JSON.parse(text(caseFile)), self = {}, replies = [];
// As a function, not in a context of its own, in which every use of `Math` would be slow.
new Function("self", "postMessage", "hrmKernels", "hrmEngine", "hrmPuzzles", text(worker))(
  self, (reply) => replies.push(reply), require(kernels), require(engine), require(puzzles),
);
const answer = (message) => {
  replies.length = 0;
  self.onmessage({ data: message });
  const last = replies[replies.length - 1];
  if (last && last.error) throw new Error(last.error);
  return last && last.done;
};
answer({ type: "start", wasm: bytes(given.wasm) });
answer({ type: "load", facts: given.facts, bytes: bytes(given.file) });
const hrmSolver = new Function("hrmPuzzles", `${text(solver)}\nreturn hrmSolver;`)(require(puzzles));

(async () => {
  const found = [];
  for (const cells of given.puzzles) {
    const asked = [], stages = [];
    const pool = { size: 2, async ask(message) { asked.push(message); return answer({ ...message, model: given.facts.name }); } };
    const result = await hrmSolver.solve(pool, given.facts, cells, { seconds: 1e6, onStage: (stage) => stages.push(stage), ...given.options });
    const turned = asked.filter((one) => one.from).length;
    found.push({ ...result, records: result.records.length, turned, stages, asked: asked.filter((one) => one.type === "run").map((one) => one.tokens) });
  }
  process.stdout.write(JSON.stringify(found));
})();
