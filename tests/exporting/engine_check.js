// Run by test_page.py: node engine_check.js KERNELS ENGINE PUZZLES CASE.json. Prints what the engine computes, as JSON.
"use strict";
const fs = require("fs");
const [kernelsFile, engineFile, puzzlesFile, caseFile] = process.argv.slice(2);
const kernels = require(kernelsFile), engine = require(engineFile), rules = require(puzzlesFile);
const given = JSON.parse(fs.readFileSync(caseFile, "utf8"));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const made = kernels.make(given.wasm ? [bytes(given.wasm)] : []);
const model = engine.loadModel(made, bytes(given.file), given.facts), V = given.facts.vocab_size;
const found = given.inputs.map((tokens) => {
  const state = model.start(), steps = [];
  for (let step = 1; step <= given.max_steps; step++) {
    const out = model.step(state, tokens);
    steps.push({
      logits: given.with_logits ? Array.from(out.logits) : null, q_halt: out.q_halt, answer: Array.from(engine.answerOf(out.logits, V)),
    });
    if (given.adaptive && out.halts) break;
  }
  return steps;
});
const domain = rules.of(given.facts);
const judged = (given.judged || []).map(({ cells, answer }) => ({
  ...domain.verify(cells, answer), violations: domain.violations(cells, answer), solutions: domain.diagnose(cells).solutions,
}));
process.stdout.write(JSON.stringify({ isWasm: made.isWasm, found, judged }));
