/* How the cells of each kind of puzzle look, and which keys enter them: `look` for a GridEditor, and its palette.

playKinds.look(kind, facts, rows, columns, cells, options) → look
    facts: what the server says of the kind; options: label, moves, symbols (of own puzzles)
playKinds.palette(look) → [{value, text, name, color, style}]
playKinds.conflicts(kind, facts, rows, cells) → the cells that break a rule of Sudoku */
"use strict";
const playKinds = (() => {
  const WALL = 0, FREE = 1, START = 2, GOAL = 3, MARK = 4;
  const COLORS = ["black", "blue", "red", "green", "yellow", "gray", "magenta", "orange", "sky blue", "brown"];

  function look(kind, facts, rows, columns, cells, options = {}) {
    const common = { label: options.label || facts.label, rows, columns, cells, box: null, color: null, style: null, unique: [], moves: options.moves };
    if (kind === "sudoku") return sudoku(common, facts, rows);
    if (kind === "maze") return maze(common);
    if (kind === "arc") return arc(common, facts);
    return own(common, options.symbols || []);
  }

  function sudoku(common, facts, size) {
    const symbols = Array.from(facts.symbols).slice(0, size);
    return {
      ...common, blank: 0, values: [...symbols.keys()].map((place) => place + 1).concat(0), box: facts.boxes[size] || null,
      symbol: (value) => (value ? symbols[value - 1] : ""),
      name: (value) => (value ? symbols[value - 1] : "blank"),
      valueFor(key) {
        if (".0 _*".includes(key)) return 0;
        const place = symbols.indexOf(key.toUpperCase());
        return place < 0 ? undefined : place + 1;
      },
    };
  }

  const maze = (common) => ({
    ...common, blank: FREE, values: [WALL, FREE, START, GOAL], unique: [START, GOAL], moves: null,
    symbol: (value) => ["", "", "S", "G", "●"][value],
    name: (value) => ["wall", "free", "start", "goal", "path"][value],
    style: (value) => ["wall", "free", "end", "end", "path"][value],
    valueFor: (key) => ({ "#": WALL, w: WALL, ".": FREE, " ": FREE, s: START, g: GOAL }[key.toLowerCase()]),
  });

  const arc = (common, facts) => ({
    ...common, blank: 0, values: [...COLORS.keys()],
    symbol: (value) => String(value), name: (value) => `${value}, ${COLORS[value]}`,
    color: (value) => facts.palette[value], style: () => "colored",
    valueFor: (key) => (/^[0-9]$/.test(key) ? Number(key) : key === "." || key === " " ? 0 : undefined),
  });

  const own = (common, symbols) => ({
    ...common, blank: 0, values: [...symbols.keys()],
    symbol: (value) => symbols[value] ?? "?", name: (value) => symbols[value] ?? "no symbol",
    // Several symbols may begin with the same character: each press takes the next one.
    valueFor(key) {
      const fitting = [...symbols.keys()].filter((value) => symbols[value].toLowerCase().startsWith(key.toLowerCase()));
      if (!fitting.length) return undefined;
      const exact = fitting.find((value) => symbols[value] === key);
      if (exact !== undefined) return exact;
      const next = fitting[((this.turn = (this.turn ?? -1) + 1)) % fitting.length];
      return next;
    },
  });

  const palette = (of) => of.values.map((value) => ({
    value, name: of.name(value), color: of.color ? of.color(value) : null, style: of.style ? of.style(value) : "",
    text: of.symbol(value) || (of.style ? "" : "⌫"),
  }));

  function conflicts(kind, facts, size, cells) {
    const found = new Set();
    if (kind !== "sudoku" || !facts.boxes[size]) return found;
    const [high, wide] = facts.boxes[size], units = new Map();
    cells.forEach((value, cell) => {
      if (!value) return;
      const row = Math.floor(cell / size), column = cell % size;
      const box = Math.floor(row / high) * size + Math.floor(column / wide);
      for (const key of [`r${row} ${value}`, `c${column} ${value}`, `b${box} ${value}`]) {
        const others = units.get(key) || [];
        others.push(cell);
        units.set(key, others);
        if (others.length > 1) others.forEach((one) => found.add(one));
      }
    });
    return found;
  }

  return { look, palette, conflicts, FREE, MARK };
})();
