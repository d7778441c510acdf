/* The forward pass of a model, from the tensors of its safetensors file. It runs in a worker, or in Node.

hrmEngine.loadModel(kernels, fileBytes, facts) → model  kernels: of kernels.js; facts: arch, seq_len, vocab_size, structure (page.py)
model.start() → state;  model.step(state, tokens) → { logits, q_halt, halts }   logits: Float32Array [cells × vocabulary]

The names of shapes: S cells, T positions, H hidden size, V vocabulary, D symbols (or sides of a cell), M width of messages. All numbers are
float32, as in torch; sums within a row are made in double precision. */
"use strict";
const hrmEngine = (() => {
  const SETTLED = 0.02, SETTLED_LOGIT = Math.log(0.98 / 0.02), SETTLED_SLOPE = 4, EXCLUDED = -30, NOWHERE = -1e30;
  const { padded } = typeof hrmKernels === "object" ? hrmKernels : require("./kernels.js");
  const SIDES = 4; // of a cell, with the mixer edges: up, right, down, left
  const ROWS_TOGETHER = 64; // of a layer from end to end, so that what lies between stays in the cache

  /* ---- safetensors ---- */

  function readTensors(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = Number(view.getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const tensors = {};
    for (const [name, entry] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const [start, end] = entry.data_offsets.map((offset) => offset + 8 + length);
      tensors[name] = { shape: entry.shape, data: asFloats(view, start, end, entry.dtype) };
    }
    return tensors;
  }

  function asFloats(view, start, end, dtype) {
    const size = dtype === "F32" ? 4 : 2, count = (end - start) / size, found = new Float32Array(count);
    const bits = new Uint32Array(found.buffer);
    for (let i = 0, at = start; i < count; i++, at += size) {
      if (dtype === "F32") found[i] = view.getFloat32(at, true);
      else if (dtype === "BF16") bits[i] = view.getUint16(at, true) << 16;
      else if (dtype === "F16") found[i] = fromHalf(view.getUint16(at, true));
      else throw new Error(`cannot read numbers of type ${dtype}`);
    }
    return found;
  }

  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return exponent === 31 ? (fraction ? NaN : sign * Infinity) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  /* ---- models ---- */

  /* A weight [n, k] plus share · up [n, r] · down [r, k], if it has a size adapter. */
  function adapted(weight, up, down, share) {
    if (!up || share === 0) return weight;
    const [n, k] = weight.shape, rank = up.shape[1], data = Float32Array.from(weight.data);
    for (let row = 0; row < n; row++)
      for (let r = 0; r < rank; r++) {
        const factor = share * up.data[row * rank + r];
        for (let column = 0; column < k; column++) data[row * k + column] += factor * down.data[r * k + column];
      }
    return { shape: weight.shape, data };
  }

  function loadModel(kernels, bytes, facts) {
    const { arch, structure } = facts, H = arch.hidden_size, V = facts.vocab_size, S = facts.seq_len;
    const tensors = readTensors(bytes);
    const mixer = arch.mixer, D = mixer === "units" ? structure.num_symbols : mixer === "edges" ? SIDES : 1; // positions per cell
    const P = structure ? 0 : facts.puzzle_positions, T = P + S * D;
    const eps = arch.rms_norm_eps, sharesModule = arch.core === "trm";
    const tensor = (name) => {
      const found = tensors[`inner.${name}`];
      if (!found) throw new Error(`the model has no tensor inner.${name}`);
      return found;
    };
    const share = mixer === "units" ? 1 - Math.min(arch.size_adapter_base, D) / Math.max(arch.size_adapter_base, D) : 0;
    const weight = (name) => pack(adapted(tensor(`${name}.weight`), tensors[`inner.${name}.size_adapter.up`], tensors[`inner.${name}.size_adapter.down`], share));
    const kinds = mixer === "units" ? kindsOfPairs(structure, S) : null;
    const noBias = mixer === "attention" ? biasRows(1, T, () => 0) : 0;

    /* A weight [n, k], as `multiply` takes it. */
    function pack({ shape: [n, k], data }) {
      const wide = padded(n, 8), b = kernels.alloc(wide * k), x = kernels.f32;
      for (let j = 0; j < wide; j++) {
        const at = b + (j >> 3) * 8 * k + (j & 7);
        for (let p = 0; p < k; p++) x[at + 8 * p] = j < n ? data[j * k + p] : 0;
      }
      return { b, n, k, wide };
    }

    /* Numbers as the left side of a multiplication, which reads up to three rows too many. */
    function plain(numbers) {
      const at = kernels.alloc(numbers.length + 4 * S);
      kernels.f32.set(numbers, at);
      return at;
    }

    const swiglu = (name) => ({ into: weight(`${name}.gate_up_proj`), out: weight(`${name}.down_proj`) });

    function blockOf(level, layer) {
      const name = `${level}.layers.${layer}`, made = { mlp: swiglu(`${name}.mlp`) };
      if (mixer === "mlp") made.mixing = swiglu(`${name}.mlp_t`);
      else if (mixer === "attention") {
        made.qkv = weight(`${name}.self_attn.qkv_proj`);
        made.out = weight(`${name}.self_attn.o_proj`);
      } else if (mixer === "neighbors" || mixer === "edges" || mixer === "grid") {
        made.into = weight(`${name}.${mixer}.in_proj`);
        made.out = weight(`${name}.${mixer}.o_proj`);
        if (mixer === "grid") made.around = tensor(`${name}.grid.around.weight`).data;
        if (tensors[`inner.${name}.grid.between.weight`]) made.between = plain(tensor(`${name}.grid.between.weight`).data);
      } else {
        made.into = weight(`${name}.units.in_proj`);
        made.units = structure.classes.map((_, number) => swiglu(`${name}.units.unit_mlps.${number}`));
        made.cell = swiglu(`${name}.units.cell_mlp`);
        if (tensors[`inner.${name}.units.o_proj.weight`]) {
          made.out = weight(`${name}.units.o_proj`);
          const { data, shape: [numHeads, K] } = tensor(`${name}.units.pair_bias`);
          made.bias = Array.from({ length: numHeads }, (_, number) => biasRows(S, S, (a, b) => data[number * K + kinds[a * S + b]]));
        }
      }
      return made;
    }

    const count = (level) => {
      const layers = Object.keys(tensors).map((name) => name.match(`^inner\\.${level}\\.layers\\.(\\d+)\\.`)).filter(Boolean);
      return 1 + Math.max(...layers.map((found) => Number(found[1])));
    };
    const level = (name) => Array.from({ length: count(name) }, (_, layer) => blockOf(name, layer));
    const L_level = level("L_level"), H_level = sharesModule ? L_level : level("H_level");
    const table = tensor("embed_tokens.embedding_weight"), lookup = table.data;
    const head = arch.tied_output ? pack(table) : weight("lm_head");
    const q = arch.halting === "q_learning" ? { ...weight("q_head"), bias: tensor("q_head.bias").data } : null;
    const haltLogit = Math.log(arch.halts_at / (1 - arch.halts_at));
    const positions = arch.pos_encodings === "learned" ? tensor("embed_pos.embedding_weight").data : null;
    const embeddings = P ? tensors["inner.puzzle_emb.weights"] : null;
    const puzzleRow = embeddings ? embeddings.data.subarray(0, embeddings.shape[1]) : null; // of a new puzzle: the first
    const rope = arch.pos_encodings === "rope" ? ropeTables(T, H / arch.num_heads, arch.rope_theta) : null;
    const unitsOfCell = mixer === "units" ? unitsByCell(structure, S) : null;
    const initial = [tensor("H_init").data, tensor("L_init").data];

    /* Buffers of a step; each is used by one purpose at a time. */
    const widest = Math.max(...[...L_level, ...H_level].map((one) => one.mlp.into.wide));
    const rows = padded(Math.max(T, H), 4), across = Math.max(widest, padded(T, 8));
    const z = [0, 1].map(() => kernels.alloc(padded(T, 4) * H));
    const embedding = kernels.alloc(padded(T, 4) * H), injected = kernels.alloc(padded(T, 4) * H);
    const inner = kernels.alloc(Math.max(rows * widest, mixer === "mlp" ? padded(H, 4) * L_level[0].mixing.into.wide : 0));
    const outWide = padded(H, 8), result = kernels.alloc(Math.max(padded(T, 4) * outWide, padded(H, 4) * across)); // rows of outWide
    const turned = mixer === "mlp" ? kernels.alloc(padded(H, 4) * padded(T, 8)) : 0;
    const projected = mixer === "mlp" ? 0 : kernels.alloc(padded(T, 4) * padded(mixer === "units" ? 5 * (H / 2) : 3 * H, 8));
    const messages = mixer === "mlp" ? 0 : kernels.alloc(padded(T, 4) * ({ grid: 4, edges: 5 }[mixer] || 2) * H);
    const scratch = kernels.alloc(padded(Math.max(T, 64), 8) * padded(Math.max(H, 64), 8) * 2);
    const items = mixer === "units" ? S : T, attends = mixer === "units" || mixer === "attention", scores = !attends ? 0 : kernels.alloc(padded(items, 4) * padded(items, 8));
    const packedB = !attends && mixer !== "grid" ? 0 : kernels.alloc(padded(items, 8) * Math.max(D * H, H) * 2);
    const heads = kernels.alloc(padded(T, 4) * padded(Math.max(head.wide, 8), 8));

    const linear = (from, count, w, to, lda = w.k) => kernels.multiply(from, w.b, to, padded(count, 4), w.wide, w.k, lda, w.wide);

    /* down(silu(gate) · up) of `count` rows of `from`, into `to` with rows of w.out.wide numbers. */
    function applySwiglu(from, count, w, to, lda = w.into.k) {
      const wide = w.into.wide;
      for (let row = 0; row < count; row += ROWS_TOGETHER) {
        const some = Math.min(ROWS_TOGETHER, count - row);
        linear(from + row * lda, some, w.into, inner, lda);
        kernels.gate(inner, some, w.into.n / 2, wide);
        linear(inner, some, w.out, to + row * w.out.wide, wide);
      }
    }

    /* to ← norm(to + from), row by row. */
    const addAndNorm = (to, from, count, width, toStride = width, fromStride = width) => kernels.norm(to, from, count, width, toStride, fromStride, eps);

    function transpose(from, count, width, fromStride, to, toStride) {
      const x = kernels.f32;
      for (let row = 0; row < count; row++) {
        for (let i = 0; i < width; i++) x[to + i * toStride + row] = x[from + row * fromStride + i];
      }
    }

    function mixTokens(state, w) {
      const stride = padded(T, 8);
      transpose(state, T, H, H, turned, stride);
      applySwiglu(turned, H, w, result, stride);
      addAndNorm(turned, result, H, T, stride, w.out.wide);
      transpose(turned, H, T, stride, state, H);
    }

    /* Attention between `count` items. The queries of an item are `parts` pieces of `length` numbers, the first at
       at.q + item · at.item, the others each at.part further; so are its keys (at.k) and values (at.v). The result goes
       to out.at + item · out.item + part · out.part. bias: rows of numbers to add to the scores, `biases` apart. */
    function attend(count, parts, length, at, bias, biases, out) {
      const x = kernels.f32, wide = padded(count, 8), width = parts * length, outWide = padded(width, 8);
      const lda = padded(width, 4), scale = width ** -0.5;
      x.fill(0, packedB, packedB + wide * width);
      for (let item = 0; item < count; item++) {
        const row = scratch + item * lda, keys = packedB + (item >> 3) * 8 * width + (item & 7);
        for (let part = 0, i = 0; part < parts; part++) {
          const from = item * at.item + part * at.part;
          for (let j = 0; j < length; j++, i++) {
            x[row + i] = scale * x[at.q + from + j];
            x[keys + 8 * i] = x[at.k + from + j];
          }
        }
      }
      kernels.multiply(scratch, packedB, scores, padded(count, 4), wide, width, lda, wide);
      kernels.softmax(scores, bias, count, wide, wide, biases);
      x.fill(0, packedB, packedB + outWide * count);
      for (let item = 0; item < count; item++) {
        for (let part = 0, column = 0; part < parts; part++) {
          const from = at.v + item * at.item + part * at.part;
          for (let j = 0; j < length; j++, column++) x[packedB + (column >> 3) * 8 * count + 8 * item + (column & 7)] = x[from + j];
        }
      }
      kernels.multiply(scores, packedB, scratch, padded(count, 4), outWide, count, wide, outWide);
      for (let item = 0; item < count; item++) {
        for (let part = 0; part < parts; part++) {
          const from = scratch + item * outWide + part * length;
          x.copyWithin(out.at + item * out.item + part * out.part, from, from + length);
        }
      }
    }

    /* Rows of numbers to add to attention's scores. Columns that only pad are excluded. */
    function biasRows(rows, count, biasOf) {
      const wide = padded(count, 8), at = kernels.alloc(rows * wide);
      for (let row = 0; row < rows; row++) {
        for (let j = 0; j < wide; j++) kernels.f32[at + row * wide + j] = j < count ? biasOf(row, j) : NOWHERE;
      }
      return at;
    }

    function mixUnits(state, w) {
      const x = kernels.f32, M = H / 2, wide = w.into.wide, numHeads = arch.num_heads, ofCell = D * H;
      const add = kernels.accumulate;
      linear(state, T, w.into, projected);
      kernels.silu(projected, T, 2 * M, wide);
      x.fill(0, messages, messages + T * H);
      structure.classes.forEach((units, number) => {
        // The average over each unit's cells, about each symbol.
        x.fill(0, scratch, scratch + units.length * D * M);
        units.forEach((cells, unit) => {
          for (const cell of cells) add(scratch + unit * D * M, projected + cell * D * wide, D, M, M, wide, 1 / cells.length);
        });
        applySwiglu(scratch, units.length * D, w.units[number], result);
        unitsOfCell[number].forEach((own, cell) => {
          for (const unit of own) add(messages + cell * ofCell, result + unit * D * outWide, D, H, H, outWide);
        });
      });
      x.fill(0, scratch, scratch + S * M);
      for (let cell = 0; cell < S; cell++) add(scratch + cell * M, projected + cell * D * wide + M, D, M, 0, wide, 1 / D);
      applySwiglu(scratch, S, w.cell, result);
      for (let cell = 0; cell < S; cell++) add(messages + cell * ofCell, result + cell * outWide, D, H, H, 0);
      if (w.out) {
        const A = M / numHeads, mixed = injected; // free while a block runs
        for (let number = 0; number < numHeads; number++) {
          const q = projected + 2 * M + number * A, at = { q, k: q + M, v: q + 2 * M, item: D * wide, part: wide };
          attend(S, D, A, at, w.bias[number], padded(S, 8), { at: mixed + number * A, item: D * M, part: M });
        }
        linear(mixed, T, w.out, result);
        add(messages, result, T, H, H, outWide);
      }
      addAndNorm(state, messages, T, H);
    }

    function mixAttention(state, w) {
      const numHeads = arch.num_heads, A = H / numHeads, wide = w.qkv.wide;
      linear(state, T, w.qkv, projected);
      if (rope) {
        for (let row = 0; row < T; row++) {
          for (let part = 0; part < 2 * numHeads; part++) rotate(projected + row * wide + part * A, row, A);
        }
      }
      for (let number = 0; number < numHeads; number++) {
        const q = projected + number * A, at = { q, k: q + H, v: q + 2 * H, item: wide, part: 0 };
        attend(T, 1, A, at, noBias, 0, { at: messages + number * A, item: H, part: 0 });
      }
      linear(messages, T, w.out, result);
      addAndNorm(state, result, T, H, H, outWide);
    }

    function rotate(at, row, A) {
      const x = kernels.f32, half = A / 2;
      for (let i = 0; i < half; i++) {
        const cos = rope.cos[row * half + i], sin = rope.sin[row * half + i], a = x[at + i], b = x[at + half + i];
        x[at + i] = a * cos - b * sin;
        x[at + half + i] = b * cos + a * sin;
      }
    }

    function mixNeighbors(state, w) {
      const x = kernels.f32, { rows: R, columns: C } = structure, wide = w.into.wide;
      linear(state, T, w.into, projected);
      kernels.silu(projected, T, wide, wide);
      for (let row = 0; row < R; row++) {
        for (let column = 0; column < C; column++) {
          const beside = [[row - 1, column], [row + 1, column], [row, column - 1], [row, column + 1]].map(
            ([r, c]) => (r < 0 || r >= R || c < 0 || c >= C ? -1 : projected + (r * C + c) * wide));
          const to = messages + (row * C + column) * 2 * H;
          for (let i = 0; i < H; i++) {
            const [up, down, left, right] = beside.map((from) => (from < 0 ? 0 : x[from + i]));
            x[to + i] = Math.fround(up + down) + Math.fround(left + right);
            x[to + H + i] = Math.max(...beside.map((from) => (from < 0 ? 0 : x[from + H + i])));
          }
        }
      }
      linear(messages, T, w.out, result);
      addAndNorm(state, result, T, H, H, outWide);
    }

    function mixEdges(state, w) {
      const x = kernels.f32, { rows: R, columns: C } = structure, wide = w.into.wide, all = 5 * H;
      linear(state, T, w.into, projected);
      kernels.silu(projected, T, wide, wide);
      // Sum and maximum of the numbers at four places, `step` apart.
      const pool = (from, step, to, most) => {
        for (let i = 0; i < H; i++, from++) {
          const up = x[from], right = x[from + step], down = x[from + 2 * step], left = x[from + 3 * step];
          if (to !== null) x[to + i] = Math.fround(up + down) + Math.fround(right + left);
          if (most !== null) x[most + i] = Math.max(up, right, down, left);
        }
      };
      for (let cell = 0; cell < S; cell++) {
        const row = Math.floor(cell / C), column = cell % C, to = messages + SIDES * cell * all;
        // The sides that touch this cell's upper, right, lower and left side.
        const touching = [row > 0 ? SIDES * (cell - C) + 2 : -1, column < C - 1 ? SIDES * (cell + 1) + 3 : -1,
          row < R - 1 ? SIDES * (cell + C) : -1, column > 0 ? SIDES * (cell - 1) + 1 : -1];
        touching.forEach((position, side) => {
          const at = to + side * all, from = projected + position * wide;
          if (position < 0) x.fill(0, at, at + H);
          else x.copyWithin(at, from, from + H);
        });
        const own = projected + SIDES * cell * wide;
        pool(own + H, wide, to + H, null);
        pool(own + 2 * H, wide, null, to + 2 * H);
        pool(to, all, to + 3 * H, to + 4 * H);
        for (let side = 1; side < SIDES; side++) x.copyWithin(to + side * all + H, to + H, to + all);
      }
      linear(messages, T, w.out, result);
      addAndNorm(state, result, T, H, H, outWide);
    }

    function mixGrid(state, w) {
      const x = kernels.f32, { rows: R, columns: C } = structure, wide = w.into.wide, half = H / 2, all = w.out.k;
      linear(state, T, w.into, projected);
      kernels.silu(projected, T, wide, wide);
      for (let row = 0; row < R; row++) {
        for (let column = 0; column < C; column++) {
          const to = messages + (row * C + column) * all;
          x.fill(0, to, to + H);
          for (let place = 0; place < 9; place++) {
            const r = row + Math.floor(place / 3) - 1, c = column + (place % 3) - 1;
            if (r < 0 || r >= R || c < 0 || c >= C) continue;
            const from = projected + (r * C + c) * wide;
            for (let i = 0; i < H; i++) x[to + i] += w.around[9 * i + place] * x[from + i];
          }
        }
      }
      // Means and maxima of each row, then of each column.
      const lines = [Array.from({ length: R }, (_, r) => Array.from({ length: C }, (_, c) => r * C + c)),
        Array.from({ length: C }, (_, c) => Array.from({ length: R }, (_, r) => r * C + c))];
      lines.forEach((ofKind, kind) => {
        for (const cells of ofKind) {
          for (let i = 0; i < H; i++) {
            let total = 0, most = -Infinity;
            for (const cell of cells) {
              const value = x[projected + cell * wide + H + i];
              total += value;
              if (value > most) most = value;
            }
            const value = i < half ? total / cells.length : most;
            for (const cell of cells) x[messages + cell * all + (1 + kind) * H + i] = value;
          }
        }
      });
      if (w.between !== undefined) {
        const numHeads = arch.num_heads, A = H / numHeads, padA = padded(A, 8);
        for (let number = 0; number < numHeads; number++) {
          x.fill(0, packedB, packedB + padA * S);
          for (let cell = 0; cell < S; cell++) {
            for (let i = 0; i < A; i++) x[packedB + (i >> 3) * 8 * S + 8 * cell + (i & 7)] = x[projected + cell * wide + 2 * H + number * A + i];
          }
          kernels.multiply(w.between + number * S * S, packedB, scratch, padded(S, 4), padA, S, S, padA);
          for (let cell = 0; cell < S; cell++) x.copyWithin(messages + cell * all + 3 * H + number * A, scratch + cell * padA, scratch + cell * padA + A);
        }
      }
      linear(messages, T, w.out, result);
      addAndNorm(state, result, T, H, H, outWide);
    }

    const mix = { units: mixUnits, attention: mixAttention, neighbors: mixNeighbors, edges: mixEdges, grid: mixGrid }[mixer];

    function update(state, injection, blocks) {
      kernels.accumulate(state, injection, 1, T * H, 0, 0);
      for (const w of blocks) {
        if (mixer === "mlp") mixTokens(state, w.mixing);
        else mix(state, w);
        applySwiglu(state, T, w.mlp, result);
        addAndNorm(state, result, T, H, H, outWide);
      }
    }

    function embed(tokens) {
      const x = kernels.f32, scale = Math.sqrt(H);
      for (let position = 0; position < T; position++) {
        const to = embedding + position * H;
        let row = null;
        if (mixer === "units") {
          const token = tokens[Math.floor(position / D)], symbol = structure.first_symbol + position % D;
          row = token < structure.first_symbol ? 0 : token === symbol ? 2 : 1;
        } else if (position >= P) row = tokens[Math.floor((position - P) / D)];
        for (let i = 0; i < H; i++) {
          let value = row === null ? (puzzleRow ? puzzleRow[position * H + i] || 0 : 0) : lookup[row * H + i];
          if (positions) value = (value + positions[position * H + i]) * Math.sqrt(0.5);
          x[to + i] = value * scale;
        }
      }
    }

    function readLogits(state) {
      const x = kernels.f32, found = new Float32Array(S * V);
      if (mixer === "edges") {
        // From the mean of the sides of each cell.
        x.fill(0, result, result + S * H);
        for (let cell = 0; cell < S; cell++) kernels.accumulate(result + cell * H, state + SIDES * cell * H, SIDES, H, 0, H, 1 / SIDES);
        linear(result, S, head, heads);
      } else linear(state, T, head, heads);
      if (mixer === "units") {
        found.fill(EXCLUDED);
        for (let position = 0; position < T; position++) {
          found[Math.floor(position / D) * V + structure.first_symbol + position % D] = x[heads + position * head.wide];
        }
      } else {
        for (let cell = 0; cell < S; cell++) for (let v = 0; v < V; v++) found[cell * V + v] = x[heads + (P + cell) * head.wide + v];
      }
      return found;
    }

    function readHalt(state, before, logits) {
      const x = kernels.f32;
      if (arch.halting === "certain") return confidenceLogit(logits, V);
      if (!q) {
        let change = 0, size = 0;
        for (let i = 0; i < T * H; i++) { change += (x[state + i] - before[i]) ** 2; size += x[state + i] ** 2; }
        return SETTLED_LOGIT + SETTLED_SLOPE * (Math.log(SETTLED) - Math.log(Math.sqrt(Math.max(change / size, 1e-12))));
      }
      linear(state, T, q, heads);
      if (!structure) return x[heads] + q.bias[0];
      // A smooth minimum over all positions.
      let least = Infinity, total = 0;
      for (let i = 0; i < T; i++) least = Math.min(least, x[heads + i * q.wide]);
      for (let i = 0; i < T; i++) total += Math.exp(least - x[heads + i * q.wide]);
      return Math.log(T) + least - Math.log(total) + q.bias[0];
    }

    return {
      facts,
      start() {
        return initial.map((from) => {
          const made = new Float32Array(T * H);
          for (let position = 0; position < T; position++) made.set(from, position * H);
          return made;
        });
      },
      /* One ACT step. Changes the state. */
      step(state, tokens) {
        const [slow, fast] = z;
        kernels.f32.set(state[0], slow);
        kernels.f32.set(state[1], fast);
        embed(tokens);
        for (let cycle = 0; cycle < arch.H_cycles; cycle++) {
          for (let i = 0; i < arch.L_cycles; i++) {
            // Anew for each update: the attention of units uses this buffer.
            kernels.f32.copyWithin(injected, slow, slow + T * H);
            kernels.accumulate(injected, embedding, 1, T * H, 0, 0);
            update(fast, injected, L_level);
          }
          update(slow, fast, H_level);
        }
        const before = q || arch.halting === "certain" ? null : state[0].slice();
        const logits = readLogits(slow), q_halt = readHalt(slow, before, logits);
        state[0].set(kernels.f32.subarray(slow, slow + T * H));
        state[1].set(kernels.f32.subarray(fast, fast + T * H));
        return { logits, q_halt, halts: q_halt >= haltLogit };
      },
    };
  }

  /* Confidence of the least confident cell, as a logit. */
  function confidenceLogit(logits, V) {
    let least = 0;
    for (let cell = 0; cell < logits.length; cell += V) {
      const row = logits.subarray(cell, cell + V), most = Math.max(...row);
      let total = 0;
      for (const one of row) total += Math.exp(one - most);
      least = Math.min(least, -Math.log(total));
    }
    return least - Math.log(-Math.expm1(Math.min(least, -1e-7)));
  }

  function ropeTables(count, size, theta) {
    const half = size / 2, cos = new Float32Array(count * half), sin = new Float32Array(count * half);
    for (let row = 0; row < count; row++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(row * Math.fround(1 / theta ** Math.fround((2 * i) / size)));
        cos[row * half + i] = Math.cos(angle);
        sin[row * half + i] = Math.sin(angle);
      }
    }
    return { cos, sin };
  }

  function kindsOfPairs(structure, S) {
    const kinds = new Uint8Array(S * S);
    structure.classes.forEach((units, number) => {
      for (const unit of units) for (const a of unit) for (const b of unit) kinds[a * S + b] += structure.bases[number];
    });
    return kinds;
  }

  const unitsByCell = (structure, S) => structure.classes.map((units) => Array.from({ length: S }, (_, cell) =>
    units.flatMap((unit, number) => (unit.includes(cell) ? [number] : []))));

  /* The most likely token of each cell. */
  function answerOf(logits, V) {
    const found = new Uint8Array(logits.length / V);
    for (let cell = 0; cell < found.length; cell++) {
      let best = 0;
      for (let v = 1; v < V; v++) if (logits[cell * V + v] > logits[cell * V + best]) best = v;
      found[cell] = best;
    }
    return found;
  }

  function probabilitiesOf(logits, V) {
    const found = new Float32Array(logits.length);
    for (let cell = 0; cell < logits.length; cell += V) {
      const most = Math.max(...logits.subarray(cell, cell + V));
      let total = 0;
      for (let v = 0; v < V; v++) total += found[cell + v] = Math.exp(logits[cell + v] - most);
      for (let v = 0; v < V; v++) found[cell + v] /= total;
    }
    return found;
  }

  return { loadModel, readTensors, answerOf, probabilitiesOf };
})();
if (typeof module === "object" && module.exports) module.exports = hrmEngine;
