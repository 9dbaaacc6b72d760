/**
 * Gaussian process regression with a Matern 5/2 kernel, and expected improvement. Rasmussen, Williams 2006, algorithm 2.1 and
 * equation 4.17; Jones, Schonlau, Welch 1998, equation 15.
 *
 *   X  n points of d coordinates    y  n values, standardised    K  n x n, k(X, X) + noise    L L^T = K
 *   mean(x) = k(x, X) K^-1 y        variance(x) = 1 - ||L^-1 k(X, x)||^2
 */
import { cholesky, scope, solveLower, Tensor } from "../tensor/index.ts";

export interface Observation {
  readonly point: readonly number[];
  readonly value: number;
}

export interface Prediction {
  readonly mean: number;
  /** Standard deviation. */
  readonly deviation: number;
}

/** Variance that is no function of the point, relative to the values' variance: ranks are whole numbers. */
const NOISE = 1e-4;

/**
 * What is to be expected at `points` after the observations.
 * @param lengths distance in each coordinate over which values forget one another.
 */
export function predict(
  observations: readonly Observation[],
  points: readonly (readonly number[])[],
  lengths: readonly number[],
): Prediction[] {
  const X = observations.map(({ point }) => point);
  const { mean, deviation, standardised } = standardise(observations.map(({ value }) => value));
  const kernel = (a: readonly (readonly number[])[], b: readonly (readonly number[])[], noise = 0) =>
    Tensor.from(
      Float64Array.from(a.flatMap((x, i) => b.map((z, j) => matern(distance(x, z, lengths)) + (i === j ? noise : 0)))),
      [a.length, b.length],
    );
  return scope(() => {
    const L = cholesky(kernel(X, X, NOISE)) as Tensor; // the noise makes it positive definite
    const k = solveLower(L, kernel(X, points)); // n x p, L^-1 k(X, x)
    const y = solveLower(L, Tensor.from(Float64Array.from(standardised), [X.length, 1])); // n x 1, L^-1 y
    const means = k.T.matmul(y).toFloat64Array();
    const explained = k.mul(k).columnSums().toFloat64Array();
    return points.map((_, i) => ({
      mean: mean + deviation * (means[i] as number),
      deviation: deviation * Math.sqrt(Math.max(1 - (explained[i] as number), 0)),
    }));
  });
}

/** By how much a value is expected to lie below `best`. */
export function expectedImprovement({ mean, deviation }: Prediction, best: number): number {
  if (deviation === 0) return Math.max(best - mean, 0);
  const z = (best - mean) / deviation;
  return deviation * (z * normalDistribution(z) + Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI));
}

function standardise(values: readonly number[]) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) || 1;
  return { mean, deviation, standardised: values.map((value) => (value - mean) / deviation) };
}

function distance(a: readonly number[], b: readonly number[], lengths: readonly number[]): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + ((value - (b[i] as number)) / (lengths[i] as number)) ** 2, 0));
}

function matern(r: number): number {
  const s = Math.sqrt(5) * r;
  return (1 + s + (s * s) / 3) * Math.exp(-s);
}

/** Phi(z), to 8e-8: Abramowitz, Stegun 1964, 26.2.17. */
export function normalDistribution(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail = [1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.31938153].reduce((sum, c) => (sum + c) * t, 0);
  const above = (tail * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);
  return z > 0 ? 1 - above : above;
}
