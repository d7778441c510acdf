/* Rules of Sudoku and mazes. Nothing here helps the model: rules check its answers, and an exact solver only counts a
puzzle's solutions, so that the page can say if there is none or more than one.

hrmPuzzles.of(facts) → { domain, encode(cells), decode(tokens), text(cells), verify(cells, answer) → {ok, reason},
    violations(cells, answer), diagnose(cells) → {solutions, reason}, blank_token, conflicts(cells),
    pinsToTry(tokens, probabilities, V) → [{cell, token, probability}], withoutPins(cells, tokens, answer) → answer }
pinsToTry: the children of a search node that failed, as in hrm_cli/evaluation/search.py and hrm_cli/puzzles/maze/pinning.py.
Cells are values in reading order: 0 for a blank and digits from 1 (Sudoku); wall 0, free 1, S 2, G 3, mark 4 (mazes). */
"use strict";
const hrmPuzzles = (() => {
  const SYMBOLS = "123456789ABCDEFGHIJKLMNOP", MAZE = "#.SGo";
  const WALL = 0, FREE = 1, START = 2, GOAL = 3, MARK = 4;
  const BUDGET = 300000; // branches of the exact solver
  const IMPOSSIBLE = 1e-4, WALLS = 4; // no pin is less probable; walls to try in a maze
  const decode = (tokens) => Array.from(tokens, (token) => Math.max(0, token - 1));
  const encode = (cells) => cells.map((cell) => cell + 1);

  function sudoku(facts) {
    const grid = facts.board.puzzle, size = grid.rows, wide = grid.ruled_columns[0] || size, high = grid.ruled_rows[0] || size;
    const boxOf = (cell) => Math.floor(Math.floor(cell / size) / high) * (size / wide) + Math.floor((cell % size) / wide);
    const units = Array.from({ length: 3 * size }, () => []);
    for (let cell = 0; cell < size * size; cell++) {
      units[Math.floor(cell / size)].push(cell);
      units[size + (cell % size)].push(cell);
      units[2 * size + boxOf(cell)].push(cell);
    }
    const unitName = (unit) => `${["row", "column", "box"][Math.floor(unit / size)]} ${(unit % size) + 1}`;
    const place = (cell) => `row ${Math.floor(cell / size) + 1}, column ${(cell % size) + 1}`;

    function repetition(cells) {
      for (const [unit, places] of units.entries()) {
        for (let digit = 1; digit <= size; digit++) {
          if (places.filter((cell) => cells[cell] === digit).length > 1) return `${unitName(unit)} contains ${SYMBOLS[digit - 1]} more than once`;
        }
      }
      return null;
    }

    function verify(cells, answer) {
      for (let cell = 0; cell < cells.length; cell++) {
        if (cells[cell] && cells[cell] !== answer[cell]) return { ok: false, reason: `the given ${SYMBOLS[cells[cell] - 1]} at ${place(cell)} was changed` };
      }
      const empty = answer.findIndex((digit) => digit < 1 || digit > size);
      if (empty >= 0) return { ok: false, reason: `${place(empty)} is empty` };
      const found = repetition(answer);
      return found ? { ok: false, reason: found } : { ok: true, reason: "" };
    }

    function violations(cells, answer) {
      let broken = 0;
      cells.forEach((cell, index) => { if (cell && cell !== answer[index]) broken++; });
      for (const places of units) if (new Set(places.map((cell) => answer[cell]).filter(Boolean)).size < size) broken++;
      return broken ? broken + 1 : 0;
    }

    function diagnose(cells) {
      const repeated = repetition(cells);
      if (repeated) return { solutions: 0, reason: repeated };
      const unitOf = Array.from({ length: size * size }, (_, cell) => [Math.floor(cell / size), size + (cell % size), 2 * size + boxOf(cell)]);
      const free = new Array(3 * size).fill(2 ** size - 1), now = cells.slice(), open = [];
      cells.forEach((digit, cell) => {
        if (digit) for (const unit of unitOf[cell]) free[unit] &= ~(1 << (digit - 1));
        else open.push(cell);
      });
      const found = [];
      let left = BUDGET;
      const search = () => {
        if (left-- <= 0) return;
        let best = -1, fewest = 99, mask = 0;
        for (const cell of open) {
          if (now[cell]) continue;
          const [row, column, box] = unitOf[cell], can = free[row] & free[column] & free[box];
          let count = 0;
          for (let bits = can; bits; bits &= bits - 1) count++;
          if (count < fewest) { best = cell; fewest = count; mask = can; if (count < 2) break; }
        }
        if (best < 0) { found.push(now.slice()); return; }
        for (let bits = mask; bits && found.length < 2; bits &= bits - 1) {
          const bit = bits & -bits;
          now[best] = 32 - Math.clz32(bit);
          for (const unit of unitOf[best]) free[unit] ^= bit;
          search();
          for (const unit of unitOf[best]) free[unit] ^= bit;
          now[best] = 0;
        }
      };
      search();
      if (found.length === 1 && left > 0) return { solutions: 1, reason: "" };
      if (found.length > 1) {
        const cell = found[0].findIndex((digit, index) => digit !== found[1][index]);
        const [low, high_] = [found[0][cell], found[1][cell]].sort((a, b) => a - b);
        return { solutions: 2, reason: `more than one solution: ${place(cell)} can be ${SYMBOLS[low - 1]} or ${SYMBOLS[high_ - 1]}` };
      }
      if (left <= 0) return { solutions: null, reason: "" };
      return { solutions: 0, reason: "no solution: the givens leave no digit for a cell, or no cell for a digit" };
    }

    function conflicts(cells) {
      const found = new Set();
      for (const places of units) {
        for (const cell of places) if (cells[cell] && places.some((other) => other !== cell && cells[other] === cells[cell])) found.add(cell);
      }
      return [...found].sort((a, b) => a - b);
    }

    /* The plausible digits of the most uncertain cell. */
    function pinsToTry(tokens, probabilities, V) {
      const cell = cellToExpand(tokens, probabilities, V, 1);
      if (cell < 0) return [];
      const row = Array.from(probabilities.subarray(cell * V, (cell + 1) * V));
      const likely = row.map((_, token) => token).filter((token) => row[token] > IMPOSSIBLE).sort((a, b) => row[b] - row[a] || a - b);
      return likely.map((token) => ({ cell, token, probability: row[token] }));
    }

    return {
      domain: "sudoku", size, rows: size, columns: size, encode, decode, verify, violations, diagnose, conflicts, blank_token: 1,
      pinsToTry, withoutPins: (cells, tokens, answer) => answer,
      text: (cells) => cells.map((cell) => (cell ? SYMBOLS[cell - 1] : ".")).join(""),
      given: (cells) => cells.flatMap((digit, cell) => (digit ? [cell] : [])),
    };
  }

  function maze(facts) {
    const { rows, columns } = facts.board.puzzle, size = rows * columns;
    const place = (cell) => `row ${Math.floor(cell / columns) + 1}, column ${(cell % columns) + 1}`;
    const beside = Array.from({ length: size }, (_, cell) => {
      const row = Math.floor(cell / columns), column = cell % columns;
      return [row ? cell - columns : -1, row < rows - 1 ? cell + columns : -1, column ? cell - 1 : -1, column < columns - 1 ? cell + 1 : -1].filter((other) => other >= 0);
    });

    /* Length of the shortest path from S to G through cells that `open` admits, and the number of such paths, up to 2. */
    function shortest(cells, open) {
      const start = cells.indexOf(START), goal = cells.indexOf(GOAL), distance = new Array(size).fill(-1), ways = new Array(size).fill(0);
      if (start < 0 || goal < 0) return { moves: -1, ways: 0 };
      distance[start] = 0;
      ways[start] = 1;
      for (const queue = [start]; queue.length;) {
        const cell = queue.shift();
        for (const other of beside[cell]) {
          if (!open(other)) continue;
          if (distance[other] < 0) { distance[other] = distance[cell] + 1; queue.push(other); }
          if (distance[other] === distance[cell] + 1) ways[other] = Math.min(2, ways[other] + ways[cell]);
        }
      }
      return { moves: distance[goal], ways: ways[goal] };
    }

    function judge(cells, answer) {
      let changed = 0, wrong = 0, marks = 0, first = "";
      const isEnd = (cell) => cells[cell] === START || cells[cell] === GOAL, onPath = (cell) => answer[cell] === MARK || isEnd(cell);
      for (let cell = 0; cell < size; cell++) {
        if (cells[cell] !== answer[cell] && !(cells[cell] === FREE && answer[cell] === MARK)) {
          changed++;
          first = first || `${place(cell)} was changed`;
        }
        if (answer[cell] === MARK) marks++;
        if (onPath(cell)) {
          const count = beside[cell].filter(onPath).length;
          if (count !== (isEnd(cell) ? 1 : 2)) {
            wrong++;
            first = first || `the path is broken or branches at ${place(cell)}`;
          }
        }
      }
      const best = shortest(cells, (cell) => cells[cell] !== WALL).moves, along = shortest(cells, (cell) => onPath(cell) && answer[cell] !== WALL).moves;
      const separate = !changed && !wrong && along !== marks + 1;
      if (separate) first = "some marks are not connected with the path";
      return { broken: changed + wrong + (separate ? 1 : 0), surplus: marks - (best - 1), first };
    }

    function verify(cells, answer) {
      const { broken, surplus, first } = judge(cells, answer);
      if (broken) return { ok: false, reason: first };
      return { ok: true, reason: surplus > 0 ? `a path, but ${surplus} moves longer than the shortest` : "" };
    }

    function violations(cells, answer) {
      const { broken, surplus } = judge(cells, answer);
      return broken ? broken + 1 : surplus > 0 ? 1 : 0;
    }

    function diagnose(cells) {
      for (const [value, name, role] of [[START, "S", "starts"], [GOAL, "G", "ends"]]) {
        if (!cells.includes(value)) return { solutions: 0, reason: `no ${name}: the maze needs one cell where the path ${role}` };
      }
      const { moves, ways } = shortest(cells, (cell) => cells[cell] !== WALL);
      if (moves < 0) return { solutions: 0, reason: "no path leads from S to G" };
      return ways > 1 ? { solutions: 2, reason: "more than one shortest path" } : { solutions: 1, reason: "", moves };
    }

    /* Rotations and reflections: for each, where every cell comes from. */
    function orientations() {
      const found = [];
      for (let number = 0; number < 8; number++) {
        if (rows !== columns && (number & 1)) continue;
        found.push(Array.from({ length: size }, (_, cell) => {
          let row = Math.floor(cell / columns), column = cell % columns;
          if (number & 1) [row, column] = [column, row];
          if (number & 2) row = rows - 1 - row;
          if (number & 4) column = columns - 1 - column;
          return row * columns + column;
        }));
      }
      return found;
    }

    /* The cells that a wall at `cell` closes together: from it, through free cells with at most two open neighbors. */
    function corridor(values, cell) {
      const found = new Set([cell]);
      for (const waiting = [cell]; waiting.length;) {
        const here = waiting.pop(), open = beside[here].filter((other) => values[other] !== WALL);
        if (values[here] !== FREE || open.length > 2) continue;
        waiting.push(...open.filter((other) => !found.has(other)));
        open.forEach((other) => found.add(other));
      }
      return found;
    }

    /* Walls in different corridors, where the model is least certain whether the path goes there. */
    function pinsToTry(tokens, probabilities, V) {
      const values = decode(tokens), onPath = values.map((_, cell) => probabilities[cell * V + MARK + 1]), closed = new Set(), pins = [];
      const open = values.flatMap((value, cell) => (value === FREE && onPath[cell] > IMPOSSIBLE && onPath[cell] < 1 - IMPOSSIBLE ? [cell] : []));
      for (const cell of open.sort((a, b) => Math.abs(onPath[a] - 0.5) - Math.abs(onPath[b] - 0.5) || a - b)) {
        if (closed.has(cell) || pins.length === WALLS) continue;
        pins.push({ cell, token: WALL + 1, probability: 1 - onPath[cell] });
        corridor(values, cell).forEach((other) => closed.add(other));
      }
      return pins;
    }

    return {
      domain: "maze", rows, columns, encode, decode, verify, violations, diagnose, orientations, conflicts: () => [], blank_token: null,
      pinsToTry, withoutPins: (cells, tokens, answer) => answer.map((value, cell) => (tokens[cell] !== cells[cell] + 1 && value === tokens[cell] - 1 ? cells[cell] : value)),
      text: (cells) => cells.map((cell) => MAZE[cell]).join(""),
      given: (cells) => cells.flatMap((value, cell) => (value === FREE ? [] : [cell])),
    };
  }

  const of = (facts) => (facts.domain === "sudoku" ? sudoku(facts) : maze(facts));

  /* The blank cell with the greatest entropy per plausible token, as in hrm_cli/evaluation/search.py; -1 if none. */
  function cellToExpand(tokens, probabilities, V, blank) {
    let best = -1, most = -1;
    tokens.forEach((token, cell) => {
      if (token !== blank) return;
      let entropy = 0, plausible = 0;
      for (let v = 0; v < V; v++) {
        const chance = probabilities[cell * V + v];
        entropy -= chance * Math.log(Math.max(chance, 1e-30));
        if (chance > 0.02) plausible++;
      }
      const value = entropy / Math.max(plausible, 2);
      if (value > most) { best = cell; most = value; }
    });
    return best;
  }

  return { of, cellToExpand, SYMBOLS };
})();
if (typeof module === "object" && module.exports) module.exports = hrmPuzzles;
