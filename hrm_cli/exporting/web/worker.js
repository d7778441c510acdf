/* Runs models in a worker, so that the page stays responsive. Every message has an `id`, which the replies repeat.

{ type: "start", wasm }                       bytes of the module of kernels
{ type: "load", facts, bytes }                a model's file
{ type: "diagnose", model, cells }            → { diagnosis }
{ type: "run", model, cells, tokens, state, taken, max_steps, adaptive, from, records, milliseconds }
    cells: the puzzle; tokens: the same with pins, or turned by `from`. `state` and `taken`: those of an earlier run, to
    continue it. Takes max_steps further steps at most. Ends when the model halts or, if not adaptive, when an answer
    obeys all rules; and when the time is over; a turned copy also when its answer stays the same for 8 steps, and a maze
    with pins for 12.
    → { step: record } for each step if records, then { done: { answer, steps, q_halt, violations, halted, records, probabilities, state, taken } }
    answer, steps, q_halt, violations: the last ones, or if not adaptive the ones with the fewest violations.
    probabilities: sums over the steps after the first three; for mazes over all, later steps with more weight. */
"use strict";
(() => {
  const PLAUSIBLE = 0.02, UNSETTLED = 3, SETTLED_AFTER = 8, STEADY = 12, FADING = 0.8;
  const models = {};
  let kernels = null;

  function record(facts, step, answer, out, chances, rules) {
    const V = facts.vocab_size, confidence = [], candidates = {};
    for (let cell = 0; cell < answer.length; cell++) {
      const row = chances.subarray(cell * V, (cell + 1) * V), likely = [];
      confidence.push(Math.round(100 * Math.max(...row)));
      row.forEach((chance, token) => {
        if (chance >= PLAUSIBLE && (rules.domain === "maze" ? token > 0 : token > 1)) likely.push([token - 1, Math.round(100 * chance)]);
      });
      if (likely.length > 1) candidates[cell] = likely;
    }
    return { step, cells: answer, halt: 1 / (1 + Math.exp(-out.q_halt)), confidence, candidates };
  }

  function run(message) {
    const { facts, model, rules } = models[message.model], V = facts.vocab_size;
    const state = message.state || model.start(), records = [], sums = new Float64Array(facts.seq_len * V);
    const began = performance.now(), taken = message.taken || 0, fillsBlanks = rules.blank_token !== null;
    const patience = message.from ? SETTLED_AFTER : message.adaptive || fillsBlanks ? Infinity : STEADY;
    let best = null, last = "", unchanged = 0, step = taken, halted = false;
    while (step < taken + message.max_steps) {
      step++;
      const out = model.step(state, message.tokens), turned = hrmEngine.answerOf(out.logits, V);
      let tokens = turned;
      if (message.from) {
        tokens = new Uint8Array(turned.length);
        turned.forEach((token, cell) => { tokens[message.from[cell]] = token; });
      }
      const decoded = rules.decode(tokens), answer = message.from ? decoded : rules.withoutPins(message.cells, message.tokens, decoded), violations = rules.violations(message.cells, answer);
      const chances = message.from ? null : hrmEngine.probabilitiesOf(out.logits, V);
      if (chances && !fillsBlanks) chances.forEach((chance, index) => { sums[index] = FADING * sums[index] + chance; });
      else if (chances && step > Math.min(UNSETTLED, taken + message.max_steps - 1)) chances.forEach((chance, index) => { sums[index] += chance; });
      const one = message.from ? { step, cells: answer, halt: 1 / (1 + Math.exp(-out.q_halt)), confidence: null, candidates: null } : record(facts, step, answer, out, chances, rules);
      records.push(one);
      if (message.records) postMessage({ id: message.id, step: one });
      halted = out.halts;
      if (message.adaptive || !best || violations < best.violations) best = { answer, steps: step, q_halt: out.q_halt, violations };
      if (message.adaptive ? halted : violations === 0) break;
      if (message.milliseconds && performance.now() - began > message.milliseconds) break;
      unchanged = String(answer) === last ? unchanged + 1 : 0;
      last = String(answer);
      if (unchanged >= patience) break;
    }
    const done = { ...best, halted, records, probabilities: sums, state, taken: step };
    postMessage({ id: message.id, done }, state.map((one) => one.buffer));
  }

  self.onmessage = ({ data }) => {
    try {
      if (data.type === "start") kernels = hrmKernels.make([data.wasm]);
      else if (data.type === "load") {
        const model = hrmEngine.loadModel(kernels, data.bytes, data.facts);
        models[data.facts.name] = { facts: data.facts, model, rules: hrmPuzzles.of(data.facts) };
      } else if (data.type === "diagnose") {
        postMessage({ id: data.id, done: models[data.model].rules.diagnose(data.cells) });
      } else if (data.type === "run") run(data);
    } catch (error) {
      postMessage({ id: data.id, error: String(error && error.message || error) });
    }
  };
})();
