/* Would another kind of search node cost the page fewer steps? Compares nodes on the way to the answer.

    node benchmarks/page_nodes.js PUZZLES.txt [--puzzles 20]

PUZZLES.txt has one Sudoku of 81 characters per line. Puzzles that 24 steps solve are skipped. For the others, the cell that the
search would expand gets its right digit, known from an exact solver, and the model reasons again, until it solves the
puzzle: from its initial states or from those of the parent node (warm), in nodes of 24 or of 12 steps. So the figures do
not depend on the order in which a search tries digits. It also prints after which step the answer of a wrong child, with
the most probable wrong digit, stayed the same for four steps. */
"use strict";
const fs = require("fs"), path = require("path");
const ROOT = path.join(__dirname, ".."), WEB = path.join(ROOT, "hrm_cli/exporting/web"), MODEL = "sudoku-any-size";
const words = process.argv.slice(2), most = words.includes("--puzzles") ? Number(words[words.indexOf("--puzzles") + 1]) : 20;
const KINDS = [["initial states", 24], ["warm", 24], ["warm", 12], ["initial states", 12]], UNSETTLED = 3, DEEPEST = 4;

const text = fs.readFileSync(path.join(ROOT, "docs/playground/index.html"), "utf8");
const content = (id) => text.match(new RegExp(`id="${id}"[^>]*>([^]*?)</script>`))[1];
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const data = JSON.parse(content("data")), facts = data.models.find((model) => model.name === MODEL), V = facts.vocab_size;
const engine = require(path.join(WEB, "engine.js")), puzzles = require(path.join(WEB, "puzzles.js")), rules = puzzles.of(facts);
const kernels = require(path.join(WEB, "kernels.js")).make([bytes(data.wasm)]);
const model = engine.loadModel(kernels, bytes(content(`weights-${MODEL}`)), facts);

/* The solution of a proper puzzle. */
function solution(cells) {
  const now = cells.slice(), row = (cell) => Math.floor(cell / 9), box = (cell) => 3 * Math.floor(row(cell) / 3) + Math.floor((cell % 9) / 3);
  const sees = (a, b) => row(a) === row(b) || a % 9 === b % 9 || box(a) === box(b);
  const peers = now.map((_, a) => now.flatMap((__, b) => (a !== b && sees(a, b) ? [b] : [])));
  const search = () => {
    let best = -1, few = null;
    now.forEach((digit, cell) => {
      if (digit) return;
      const taken = new Set(peers[cell].map((other) => now[other])), open = [1, 2, 3, 4, 5, 6, 7, 8, 9].filter((one) => !taken.has(one));
      if (best < 0 || open.length < few.length) { best = cell; few = open; }
    });
    if (best < 0) return true;
    for (const digit of few) {
      now[best] = digit;
      if (search()) return true;
    }
    now[best] = 0;
    return false;
  };
  search();
  return now;
}

function run(cells, tokens, parent, count) {
  const state = parent ? parent.map((one) => one.slice()) : model.start(), sums = new Float64Array(81 * V);
  let last = "", unchanged = 0, settled = null;
  for (let step = 1; step <= count; step++) {
    const out = model.step(state, tokens), answer = rules.decode(engine.answerOf(out.logits, V));
    if (step > UNSETTLED) engine.probabilitiesOf(out.logits, V).forEach((chance, index) => { sums[index] += chance; });
    unchanged = String(answer) === last ? unchanged + 1 : 0;
    last = String(answer);
    if (unchanged >= 4 && settled === null) settled = step;
    if (rules.violations(cells, answer) === 0) return { isSolved: true, steps: step, state, sums, settled };
  }
  return { isSolved: false, steps: count, state, sums, settled };
}

/* The cell to expand and its digits, most probable first. */
function choice(tokens, sums) {
  const chances = Float64Array.from(sums);
  for (let at = 0; at < chances.length; at += V) {
    chances[at] = chances[at + 1] = 0;
    const total = chances.subarray(at, at + V).reduce((sum, one) => sum + one, 0);
    for (let v = 0; v < V; v++) chances[at + v] /= Math.max(total, 1e-30);
  }
  const cell = puzzles.cellToExpand(tokens, chances, V, rules.blank_token), row = Array.from(chances.subarray(cell * V, (cell + 1) * V));
  return { cell, digits: row.map((_, token) => token).filter((token) => token > 1).sort((a, b) => row[b] - row[a]) };
}

const pinned = (tokens, cell, token) => { const made = Array.from(tokens); made[cell] = token; return made; };
const results = KINDS.map(() => []), settled = [];
for (const line of fs.readFileSync(words[0], "utf8").split("\n")) {
  if (line.trim().length !== 81 || settled.length >= most) continue;
  const cells = Array.from(line.trim(), (cell) => Number(cell.replace(".", "0"))), start = rules.encode(cells), root = run(cells, start, null, 24);
  if (root.isSolved) continue;
  const truth = solution(cells), first = choice(start, root.sums);
  settled.push(run(cells, pinned(start, first.cell, first.digits.find((token) => token !== truth[first.cell] + 1)), null, 24).settled);
  KINDS.forEach(([kind, count], number) => {
    let tokens = start, node = root, steps = 0, pins = 0;
    while (!node.isSolved && pins < DEEPEST) {
      const { cell } = choice(tokens, node.sums);
      tokens = pinned(tokens, cell, truth[cell] + 1);
      node = run(cells, tokens, kind === "warm" ? node.state : null, count);
      steps += node.steps;
      pins++;
    }
    results[number].push({ steps, pins, isSolved: node.isSolved });
  });
  console.log(`${line.trim()}  ${KINDS.map(([kind, count], number) => `${kind} ${count}: ${results[number][results[number].length - 1].steps}`).join(", ")}`);
}
const mean = (numbers) => (numbers.reduce((sum, one) => sum + one, 0) / numbers.length).toFixed(1);
KINDS.forEach(([kind, count], number) => {
  const found = results[number];
  console.log(`nodes of ${count} steps, ${kind}: ${found.filter((one) => one.isSolved).length} of ${found.length} solved, ${mean(found.map((one) => one.steps))} steps and ${mean(found.map((one) => one.pins))} pins on average`);
});
console.log(`wrong children whose answer stayed the same for four of 24 steps: ${settled.filter((step) => step !== null).length} of ${settled.length}`);
