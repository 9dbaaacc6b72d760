/** Random projections with uneven inputs, the same on every machine. */

import { product } from "../src/methods/factors.ts";
import type { Factors, InputStatistics, Projection } from "../src/methods/method.ts";
import { mulberry32 } from "../src/random.ts";
import { scope, Tensor, vcat } from "../src/tensor/index.ts";

/** Normal deviates by Box-Muller over the mulberry32 generator. */
export function normal(seed: number): () => number {
  const uniform = mulberry32(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function randomMatrix(
  rows: number,
  columns: number,
  seed: number,
  entry = (value: number, _column: number) => value,
): Tensor {
  const next = normal(seed);
  return Tensor.from(
    Float64Array.from({ length: rows * columns }, (_, i) => entry(next(), i % columns)),
    [rows, columns],
  );
}

export interface Problem extends Projection {
  /** The inputs, one a column: n x N. */
  readonly X: Tensor;
}

export interface ProblemOptions {
  readonly tokens?: number;
  readonly seed?: number;
  /** Added to every input; large means make centring matter. */
  readonly shift?: number;
  readonly weightScale?: number;
  readonly inputScale?: number;
}

/** W m x n and inputs whose sizes differ tenfold between features. */
export function problem(m: number, n: number, options: ProblemOptions = {}): Problem {
  const { tokens = 3 * n + 5, seed = 1, shift = 0.3, weightScale = 1, inputScale = 1 } = options;
  const feature = (j: number) => inputScale * (0.1 + Math.abs(Math.sin(1 + 5 * j)));
  const weight = randomMatrix(m, n, seed, (value) => weightScale * value);
  const inputs = randomMatrix(tokens, n, seed + 1000, (value, j) => feature(j) * (value + shift)); // N x n
  return { weight, statistics: statisticsOf(inputs), gradients: gradientsOf(m, seed), X: inputs.T };
}

/** Gram matrix of gradients at m outputs, some of which the loss hardly feels. */
function gradientsOf(m: number, seed: number): Tensor {
  return scope(() => {
    const gradients = randomMatrix(2 * m, m, seed + 2000, (value, i) => value / (1 + i)); // N x m
    return gradients.T.matmul(gradients);
  });
}

/** What calibration sums over the rows of `inputs`, N x n. */
export function statisticsOf(inputs: Tensor): InputStatistics {
  const [tokens, n] = [inputs.rows, inputs.columns];
  const values = inputs.toFloat64Array();
  const column = (j: number) => Array.from({ length: tokens }, (_, t) => values[t * n + j] as number);
  const each = (measure: (x: number[]) => number) => Float64Array.from({ length: n }, (_, j) => measure(column(j)));
  const sum = (x: number[]) => x.reduce((a, b) => a + b, 0);
  return {
    tokens,
    gram: inputs.T.matmul(inputs),
    mean: each((x) => sum(x) / tokens),
    meanAbs: each((x) => sum(x.map(Math.abs)) / tokens),
    maxAbs: each((x) => Math.max(...x.map(Math.abs))),
    batchMeans: batchMeansOf(inputs),
  };
}

/** Two batches: sqrt(t) times the mean of each, 2 x n. */
function batchMeansOf(inputs: Tensor): Tensor {
  const middle = Math.ceil(inputs.rows / 2);
  const batches = [inputs.rowRange(0, middle), inputs.rowRange(middle, inputs.rows)];
  return vcat(
    ...batches.map((batch) =>
      batch
        .columnSums()
        .reshape(1, inputs.columns)
        .scale(1 / Math.sqrt(batch.rows)),
    ),
  );
}

/** The same tokens in the compressed model: their statistics, with the problem's own inputs as the dense model's. */
export function shifted(given: Problem, inputs: Tensor): Problem & { readonly compressed: Tensor } {
  const dense = { gram: given.statistics.gram, cross: given.X.matmul(inputs) };
  return { ...given, statistics: { ...statisticsOf(inputs), dense }, compressed: inputs.T };
}

/** ||A - B||_F / ||B||_F; 0 when both are 0. */
export function distance(A: Tensor, B: Tensor): number {
  return scope(() => Math.sqrt(A.sub(B).sumOfSquares() / (B.sumOfSquares() || 1)));
}

/** ||(W - W') X - b'||_F^2 from its definition, token by token. */
export function lossByDefinition({ weight, X }: Problem, factors: Factors): number {
  return scope(() => {
    const error = weight.sub(product(factors)).matmul(X); // m x N
    return (factors.bias ? error.sub(factors.bias.reshape(weight.rows, 1)) : error).sumOfSquares();
  });
}
