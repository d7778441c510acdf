/* Memory and arithmetic of the engine: WebAssembly with SIMD (hrm_cli/exporting/wasm.py) if the browser has it, else
the same functions in JavaScript.

hrmKernels.make([wasmBytes, …]) → { f32, isWasm, alloc(count) → offset, multiply, gate, silu, accumulate, norm, softmax }
    The first module that the browser accepts is used; none: JavaScript.

All numbers are float32. Offsets and strides count numbers. Allocating may replace `f32`. */
"use strict";
const hrmKernels = (() => {
  const padded = (count, to) => Math.ceil(count / to) * to;

  function make(modules) {
    const memory = typeof WebAssembly === "object" ? new WebAssembly.Memory({ initial: 1 }) : null;
    const functions = memory && modules.map((bytes) => compiled(bytes, memory)).find(Boolean);
    const made = { f32: new Float32Array(functions ? memory.buffer : 4096), isWasm: !!functions };
    let used = 16;
    made.alloc = (count) => {
      const at = used;
      used += padded(count, 4);
      if (used > made.f32.length) {
        if (functions) {
          memory.grow(Math.ceil((used - made.f32.length) / 16384) + 16);
          made.f32 = new Float32Array(memory.buffer);
        } else {
          const larger = new Float32Array(Math.max(used, 2 * made.f32.length));
          larger.set(made.f32);
          made.f32 = larger;
        }
      }
      return at;
    };
    const plain = inJavaScript(made);
    return Object.assign(made, functions ? { ...plain, ...inBytes(functions, plain) } : plain);
  }

  function compiled(bytes, memory) {
    try {
      return new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports;
    } catch { return null; } // no SIMD, or forbidden by the page that embeds this one
  }

  /* Widths that are no multiple of 4 are left to JavaScript. */
  const inBytes = (wasm, plain) => ({
    multiply: (a, b, c, m, n, k, lda, ldc) => wasm.multiply(4 * a, 4 * b, 4 * c, m, n, k, 4 * lda, 4 * ldc),
    gate: (p, rows, half, stride) => (half & 3 ? plain.gate(p, rows, half, stride) : wasm.gate(4 * p, rows, half, 4 * stride)),
    silu: (p, rows, width, stride) => (width & 3 ? plain.silu(p, rows, width, stride) : wasm.silu(4 * p, rows, width, 4 * stride)),
    accumulate: (to, from, rows, width, tos, froms, factor = 1) => (width & 3 ? plain.accumulate(to, from, rows, width, tos, froms, factor)
      : wasm.accumulate(4 * to, 4 * from, rows, width, 4 * tos, 4 * froms, factor)),
    norm: (to, from, rows, width, tos, froms, eps) => (width & 3 ? plain.norm(to, from, rows, width, tos, froms, eps)
      : wasm.norm(4 * to, 4 * from, rows, width, 4 * tos, 4 * froms, eps)),
    softmax: (p, bias, rows, width, stride, biases) => wasm.softmax(4 * p, 4 * bias, rows, width, 4 * stride, 4 * biases),
  });

  const inJavaScript = (memory) => ({
    /* c[i][j] = Σ a[i][p] · b[p][j]. b is packed: for each group of 8 columns, k rows of 8 numbers. m is a multiple of
       4, n of 8. */
    multiply(a, b, c, m, n, k, lda, ldc) {
      const x = memory.f32;
      for (let j = 0; j < n; j += 8, b += 8 * k) {
        for (let i = 0; i < m; i++) {
          let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
          for (let p = 0, at = b, from = a + i * lda; p < k; p++, at += 8, from++) {
            const left = x[from];
            s0 += left * x[at]; s1 += left * x[at + 1]; s2 += left * x[at + 2]; s3 += left * x[at + 3];
            s4 += left * x[at + 4]; s5 += left * x[at + 5]; s6 += left * x[at + 6]; s7 += left * x[at + 7];
          }
          const to = c + i * ldc + j;
          x[to] = s0; x[to + 1] = s1; x[to + 2] = s2; x[to + 3] = s3;
          x[to + 4] = s4; x[to + 5] = s5; x[to + 6] = s6; x[to + 7] = s7;
        }
      }
    },

    /* p[i][j] = silu(p[i][j]) · p[i][half + j] */
    gate(p, rows, half, stride) {
      const x = memory.f32;
      for (let row = 0; row < rows; row++, p += stride) {
        for (let at = p; at < p + half; at++) x[at] *= x[at + half] / (1 + Math.exp(-x[at]));
      }
    },

    silu(p, rows, width, stride) {
      const x = memory.f32;
      for (let row = 0; row < rows; row++, p += stride) {
        for (let at = p; at < p + width; at++) x[at] /= 1 + Math.exp(-x[at]);
      }
    },

    /* to[i][j] += factor · from[i][j] */
    accumulate(to, from, rows, width, tos, froms, factor = 1) {
      const x = memory.f32;
      for (let row = 0; row < rows; row++, to += tos, from += froms) {
        for (let i = 0; i < width; i++) x[to + i] += factor * x[from + i];
      }
    },

    /* to[i] = to[i] + from[i], divided by its root mean square */
    norm(to, from, rows, width, tos, froms, eps) {
      const x = memory.f32;
      for (let row = 0; row < rows; row++, to += tos, from += froms) {
        let squares = 0;
        for (let i = 0; i < width; i++) {
          const sum = x[to + i] += x[from + i];
          squares += sum * sum;
        }
        const scale = 1 / Math.sqrt(squares / width + eps);
        for (let i = to; i < to + width; i++) x[i] *= scale;
      }
    },

    /* p[i] = softmax(p[i] + bias[i]) */
    softmax(p, bias, rows, width, stride, biases) {
      const x = memory.f32;
      for (let row = 0; row < rows; row++, p += stride, bias += biases) {
        let most = -Infinity, total = 0;
        for (let j = 0; j < width; j++) most = Math.max(most, x[p + j] += x[bias + j]);
        for (let j = 0; j < width; j++) total += x[p + j] = Math.exp(x[p + j] - most);
        for (let j = 0; j < width; j++) x[p + j] /= total;
      }
    },
  });

  return { make, padded };
})();
if (typeof module === "object" && module.exports) module.exports = hrmKernels;
