/* A grid that is edited with the keyboard, the mouse or a finger.

new GridEditor(look, options)
    look: label; rows, columns, cells (values in reading order); symbol(value) → text; name(value) → text for screen
    readers; style(value) → class; color(value) → CSS color, or null; box: [rows, columns] of boxes, or null;
    valueFor(key) → the value that a key enters, or undefined; blank (value of an erased cell); unique (values that
    only one cell may have); moves() → whether typing moves to the next cell
    options: paints() → the value that a click or a stroke paints, or undefined (a click then selects only);
    onBefore() and onChange(cell), called before and after a change; onSelect(editor)
editor.element, .rows, .columns, .cells, .change(cells), .set(cell, value), .mark(conflicts, hints), .focus()

Arrow keys move, Home and End go to the ends of the row, Backspace and Delete erase. */
"use strict";
class GridEditor {
  constructor(look, options = {}) {
    this.look = look;
    this.options = options;
    this.rows = look.rows;
    this.columns = look.columns;
    this.cells = look.cells.slice();
    this.current = 0;
    this.painting = null;
    this.isStroke = false;
    this.conflicts = new Set();
    this.hints = new Set();
    this.element = hrmBoard.element("div", { class: "editor", role: "grid", "aria-label": look.label });
    this.element.style.setProperty("--columns", String(this.columns));
    this.element.style.setProperty("--rows", String(this.rows));
    this.places = [];
    for (let row = 0; row < this.rows; row++) {
      const line = hrmBoard.element("div", { role: "row", class: "editor-row" });
      for (let column = 0; column < this.columns; column++) {
        const place = hrmBoard.element("div", { role: "gridcell", tabindex: "-1", class: "cell" });
        place.dataset.cell = String(this.places.length);
        this.places.push(place);
        line.append(place);
      }
      this.element.append(line);
    }
    this.cells.forEach((_, cell) => this.draw(cell));
    this.places[0].tabIndex = 0;
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focusin", (event) => this.select(Number(event.target.dataset.cell || 0)));
    this.element.addEventListener("pointerdown", (event) => this.press(event));
    this.element.addEventListener("pointermove", (event) => this.stroke(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      this.element.addEventListener(name, () => { this.painting = null; });
    }
    if (options.paints) this.element.classList.add("paints");
  }

  draw(cell) {
    const { look } = this, value = this.cells[cell], place = this.places[cell];
    const row = Math.floor(cell / this.columns), column = cell % this.columns;
    const classes = ["cell", look.style ? look.style(value) : ""];
    if (look.box && row && row % look.box[0] === 0) classes.push("box-top");
    if (look.box && column && column % look.box[1] === 0) classes.push("box-left");
    if (this.conflicts.has(cell)) classes.push("conflict");
    if (this.hints.has(cell)) classes.push("hinted");
    place.className = classes.filter(Boolean).join(" ");
    const symbol = look.symbol(value);
    place.textContent = symbol;
    place.classList.toggle("long", Array.from(symbol).length > 1);
    const color = look.color ? look.color(value) : null;
    place.style.background = color || "";
    place.style.color = color ? (isDarkColor(color) ? "#fff" : "#000") : "";
    const notes = [this.conflicts.has(cell) ? ", breaks a rule" : "", this.hints.has(cell) ? ", hint" : ""].join("");
    place.setAttribute("aria-label", `row ${row + 1}, column ${column + 1}: ${look.name(value)}${notes}`);
  }

  mark(conflicts, hints) {
    const touched = new Set([...this.conflicts, ...this.hints, ...conflicts, ...hints]);
    this.conflicts = new Set(conflicts);
    this.hints = new Set(hints);
    touched.forEach((cell) => this.draw(cell));
  }

  change(cells) {
    this.cells = cells.slice();
    this.cells.forEach((_, cell) => this.draw(cell));
  }

  set(cell, value) {
    if (this.cells[cell] === value) return;
    if (this.options.onBefore && !this.isStroke) this.options.onBefore();
    if (this.look.unique && this.look.unique.includes(value)) {
      this.cells.forEach((other, place) => {
        if (other === value) { this.cells[place] = this.look.blank; this.draw(place); }
      });
    }
    this.cells[cell] = value;
    this.draw(cell);
    if (this.options.onChange) this.options.onChange(cell);
  }

  select(cell) {
    this.places[this.current].tabIndex = -1;
    this.current = cell;
    this.places[cell].tabIndex = 0;
    if (this.options.onSelect) this.options.onSelect(this);
  }

  focus(cell = this.current) {
    this.select(cell);
    this.places[cell].focus({ preventScroll: false });
  }

  /* Enters a value into the selected cell, as if it had been typed. */
  enter(value) {
    this.set(this.current, value);
    if (this.look.moves && this.look.moves()) this.focus(Math.min(this.current + 1, this.cells.length - 1));
    else this.focus();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { columns, rows } = this, row = Math.floor(this.current / columns), column = this.current % columns;
    const to = {
      ArrowLeft: column ? this.current - 1 : this.current, ArrowRight: column < columns - 1 ? this.current + 1 : this.current,
      ArrowUp: row ? this.current - columns : this.current, ArrowDown: row < rows - 1 ? this.current + columns : this.current,
      Home: row * columns, End: row * columns + columns - 1,
    }[event.key];
    if (to !== undefined) this.focus(to);
    else if (event.key === "Backspace") {
      const goesBack = this.cells[this.current] === this.look.blank && this.look.moves && this.look.moves();
      if (goesBack && this.current) this.focus(this.current - 1);
      this.set(this.current, this.look.blank);
    } else if (event.key === "Delete") this.set(this.current, this.look.blank);
    else {
      const value = event.key.length === 1 ? this.look.valueFor(event.key) : undefined;
      if (value === undefined) return;
      this.enter(value);
    }
    event.preventDefault();
  }

  press(event) {
    const place = event.target.closest(".cell");
    if (!place || event.button) return;
    const cell = Number(place.dataset.cell), value = this.options.paints ? this.options.paints() : undefined;
    this.focus(cell);
    event.preventDefault();
    if (value === undefined) return;
    // Painting a cell with what it already has erases it, and the stroke goes on erasing.
    this.painting = this.cells[cell] === value && !(this.look.unique || []).includes(value) ? this.look.blank : value;
    this.set(cell, this.painting);
    if ((this.look.unique || []).includes(value)) this.painting = null;
    else this.element.setPointerCapture(event.pointerId);
  }

  stroke(event) {
    if (this.painting === null) return;
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const place = under && under.closest ? under.closest(".cell") : null;
    if (!place || !this.element.contains(place)) return;
    this.isStroke = true; // one step for undo
    this.set(Number(place.dataset.cell), this.painting);
    this.isStroke = false;
  }
}

function isDarkColor(color) {
  const parts = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
  return 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] < 110;
}
