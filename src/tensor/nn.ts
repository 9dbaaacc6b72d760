/** Transformer operations on rows of tokens, f32. */
import { ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";
import { describe, scope, type Tensor, wrap, wrapAll } from "./tensor.ts";

/** x / sqrt(mean(x^2) + eps) * weight, row by row. x: t x d, weight: d. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  if (weight.size !== x.columns) throw new ShapeError("rmsNorm", `${x.columns} weights`, describe(weight));
  return wrap("rmsNorm", () => native.rmsNorm(x.handle, weight.handle, eps), {
    inputs: [x, weight],
    backward: (dy) => wrapAll("rmsNorm", () => native.rmsNormGradient(x.handle, weight.handle, eps, dy.handle)),
  });
}

/** Cosines and sines of the rotary angles, p x (e / 2) each: one row a position. */
export interface RopeTable {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Rotates the heads in each row of x, t x (h e); row r stands at position r mod p of the table. */
export function rope(x: Tensor, { cos, sin }: RopeTable): Tensor {
  if (x.columns % (2 * cos.columns) !== 0 || x.rows % cos.rows !== 0) {
    throw new ShapeError("rope", `rows of heads of ${2 * cos.columns}, a multiple of ${cos.rows} rows`, describe(x));
  }
  return wrap("rope", () => native.rope(x.handle, cos.handle, sin.handle), {
    inputs: [x],
    reads: [cos, sin],
    backward: (dy) => [scope(() => rope(dy, { cos, sin: sin.scale(-1) }))], // back by the same angles
  });
}

export interface Attention {
  /** Independent sequences stacked along the rows. */
  readonly sequences: number;
  readonly queryHeads: number;
  readonly keyValueHeads: number;
  /** Multiplies q k^T; 1 / sqrt(width of a head) in the Llama family. */
  readonly scale: number;
  /** Keys that a query sees, itself included; all before it when absent. */
  readonly window?: number;
}

/**
 * softmax(q k^T scale, causal) v, without a tokens x tokens matrix in memory.
 * q: (b t) x (h e), k: (b s) x (g e), v: (b s) x (g e'); gives (b t) x (h e'). s - t keys come from a cache.
 */
export function causalAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { sequences, queryHeads, keyValueHeads, scale, window = 0 }: Attention,
): Tensor {
  const fits =
    queryHeads % keyValueHeads === 0 &&
    q.rows % sequences === 0 &&
    k.rows % sequences === 0 &&
    k.rows === v.rows &&
    k.rows >= q.rows &&
    q.columns % queryHeads === 0 &&
    k.columns * queryHeads === q.columns * keyValueHeads &&
    v.columns % keyValueHeads === 0;
  if (!fits) {
    const heads = `${sequences} sequences of ${queryHeads} query and ${keyValueHeads} key/value heads`;
    throw new ShapeError("causalAttention", heads, [q, k, v].map(describe).join(", "));
  }
  const options = { sequences, heads: queryHeads, keyValueHeads, scale, window };
  return wrap("causalAttention", () => native.causalAttention(q.handle, k.handle, v.handle, options), {
    inputs: [q, k, v],
    backward: (dy) =>
      wrapAll("causalAttention", () => native.causalAttentionGradient(q.handle, k.handle, v.handle, dy.handle, options)),
  });
}

/** silu(gate) * up, entry by entry. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  if (gate.rows !== up.rows || gate.columns !== up.columns) throw new ShapeError("swiglu", describe(gate), describe(up));
  return wrap("swiglu", () => native.swiglu(gate.handle, up.handle), {
    inputs: [gate, up],
    backward: (dy) => wrapAll("swiglu", () => native.swigluGradient(gate.handle, up.handle, dy.handle)),
  });
}

/** The rows of `table` (v x d) that the token ids name: t x d. */
export function embed(table: Tensor, tokens: Uint32Array): Tensor {
  return table.selectRows(tokens);
}

/** -log softmax(logits)[target] of each row, f64. logits: t x v. */
export function negativeLogLikelihood(logits: Tensor, targets: Uint32Array): Float64Array {
  if (targets.length !== logits.rows || targets.some((id) => id >= logits.columns)) {
    throw new ShapeError("negativeLogLikelihood", `${logits.rows} targets below ${logits.columns}`, `${targets.length} targets`);
  }
  return call("negativeLogLikelihood", () => native.negativeLogLikelihood(logits.handle, targets));
}

/** The column of each row's largest value, the first of equals. t x v. */
export function likeliest(logits: Tensor): Uint32Array {
  return call("likeliest", () => native.likeliest(logits.handle));
}

/** A column of each row, drawn with the probabilities softmax(row). logits: t x v, uniforms: t numbers in [0, 1). */
export function draw(logits: Tensor, uniforms: Float64Array): Uint32Array {
  if (uniforms.length !== logits.rows) throw new ShapeError("draw", `${logits.rows} numbers`, `${uniforms.length} numbers`);
  return call("draw", () => native.draw(logits.handle, uniforms));
}

/** KL(softmax(reference) || softmax(logits)) of each row, f64. Both t x v. */
export function klDivergence(reference: Tensor, logits: Tensor): Float64Array {
  if (reference.rows !== logits.rows || reference.columns !== logits.columns)
    throw new ShapeError("klDivergence", describe(reference), describe(logits));
  return call("klDivergence", () => native.klDivergence(reference.handle, logits.handle));
}

/** KL(softmax(reference) || softmax(logits)) of each row, f64, and `factor` times its gradient at the logits. Both t x v. */
export function klDivergenceGradient(
  reference: Tensor,
  logits: Tensor,
  factor: number,
): { divergences: Float64Array; gradient: Tensor } {
  if (reference.rows !== logits.rows || reference.columns !== logits.columns)
    throw new ShapeError("klDivergenceGradient", describe(reference), describe(logits));
  return scope(() => {
    const run = () => native.klDivergenceGradient(reference.handle, logits.handle, factor);
    const [divergences, gradient] = wrapAll("klDivergenceGradient", run) as [Tensor, Tensor];
    return { divergences: divergences.toFloat64Array(), gradient };
  });
}
