/**
 * The kernels of the engine, each as a share of the most that this machine's f32 matrix products reach.
 *
 *   node bench/kernels.mjs [--width 2048] [--hidden 5632] [--tokens 2048]
 */
import { parseArgs } from "node:util";
import * as engine from "../dist/tensor/index.js";
import { gemmPeak, publish, randomTensor, table, timed, typed } from "./common.mjs";

const { values } = parseArgs({
  options: {
    width: { type: "string", default: "2048" },
    hidden: { type: "string", default: "5632" },
    tokens: { type: "string", default: "2048" },
  },
});
const [d, f, t] = [values.width, values.hidden, values.tokens].map(Number);
const peak = gemmPeak();
const run = (work) => () => engine.scope(() => void work());

const x = randomTensor(t, d);
const W = randomTensor(f, d);
const hidden = randomTensor(t, f);
const vector = randomTensor(d);
const square = randomTensor(d, d);
const wide = square.to("f64");
const gram = wide.matmul(wide.T);
const definite = engine.addToDiagonal(gram, 1);
const heads = { sequences: t / 512, queryHeads: d / 64, keyValueHeads: d / 64, scale: 1 / 8 };
const vocabulary = randomTensor(32_000, d);
const targets = Uint32Array.from({ length: 256 }, (_, i) => i);
const rows = x.rowRange(0, 256);
const sums = new engine.TokenSums(d);

const shape = (...sizes) => sizes.join(" x ");
/** Name, shape, operations (none where memory and not arithmetic is the limit), and the work. */
const kernels = [
  ["f32 product", shape(d, d, d), 2 * d ** 3, () => square.matmul(square)],
  ["f32 projection x W^T", shape(t, d, f), 2 * t * d * f, () => x.matmul(W.T)],
  ["f64 product", shape(d, d, d), 2 * d ** 3, () => wide.matmul(wide)],
  ["Gram matrix, moments", shape(t, d), t * d ** 2, () => sums.add(x)],
  ["causal attention", shape(t / 512, 512, d), 2 * t * 512 * d, () => engine.causalAttention(x, x, x, heads)],
  [
    "head and likelihoods",
    shape(256, d, 32_000),
    2 * 256 * d * 32_000,
    () => {
      engine.negativeLogLikelihood(rows.matmul(vocabulary.T), targets);
    },
  ],
  ["eigendecomposition, f64", shape(d, d), undefined, () => engine.eigh(gram)],
  ["Cholesky, f64", shape(d, d), d ** 3 / 3, () => engine.cholesky(definite)],
  ["triangular solve, f64", shape(d, d), d ** 3, () => engine.solveLower(definite, wide)],
  ["RMSNorm", shape(t, d), undefined, () => engine.rmsNorm(x, vector, 1e-5)],
  ["SwiGLU", shape(t, f), undefined, () => engine.swiglu(hidden, hidden)],
];
const results = kernels.map(([name, size, operations, work]) => {
  const seconds = timed(run(work));
  const rate = operations && operations / seconds / 1e9;
  const share = rate === undefined ? ["", ""] : [rate.toFixed(0), `${((100 * rate) / peak).toFixed(0)} %`];
  return [name, size, (1000 * seconds).toFixed(1), ...share];
});
const body = table(["kernel", "shape", "ms", "GFLOP/s", "of the peak"], results);
publish(
  "kernels",
  "Kernels",
  typed("kernels.mjs"),
  `${body}\n\nThe peak: ${peak.toFixed(0)} GFLOP/s, f32, the best of products of 2048 and 4096.`,
);
