import { describe, expect, test } from "vitest";
import { distance, type Problem, problem } from "../../test/problem.ts";
import { addToDiagonal, meanDiagonal, scope, type Tensor } from "../tensor/index.ts";
import { product } from "./factors.ts";
import { kfac } from "./kfac.ts";
import { METHOD_DEFAULTS } from "./method.ts";
import { svdLlm } from "./svd-llm.ts";

/** f64 and matrices of condition below 1e4: rounding times that. */
const CLOSE = 1e-9;

/** tr(M D H D^T), D = W - W', M the metric of the outputs by its definition. */
function twoSidedLoss({ weight: W, statistics, gradients }: Problem, approximation: Tensor, shrinkage: number): number {
  return scope(() => {
    const G = gradients as Tensor;
    const M = addToDiagonal(G.scale(1 - shrinkage), shrinkage * meanDiagonal(G));
    const D = W.sub(approximation);
    return M.matmul(D).matmul(statistics.gram).mul(D).rowSums().columnSums().toFloat64Array()[0] as number;
  });
}

const decomposed = (given: Problem, shrinkage: number) => kfac.decompose(given, { ...METHOD_DEFAULTS, shrinkage });

describe.each([
  [12, 12],
  [7, 19],
  [23, 11],
])("%i x %i", (m, n) => {
  const given = problem(m, n);
  const k = Math.floor(Math.min(m, n) / 2);

  test("shrunk to the identity it is svd-llm", () => {
    const plain = product(svdLlm.decompose(given, METHOD_DEFAULTS).factors(k));
    expect(distance(product(decomposed(given, 1).factors(k)), plain)).toBeLessThan(CLOSE);
  });

  test.each([0.1, 0.5])("predicts the loss in its metric, and svd-llm loses more there: shrinkage %f", (shrinkage) => {
    const own = decomposed(given, shrinkage);
    const measured = twoSidedLoss(given, product(own.factors(k)), shrinkage);
    const predicted = (own.losses as Float64Array).slice(k).reduce((a, b) => a + b, 0);
    expect(Math.abs(measured / predicted - 1)).toBeLessThan(CLOSE);
    const plain = twoSidedLoss(given, product(svdLlm.decompose(given, METHOD_DEFAULTS).factors(k)), shrinkage);
    expect(plain).toBeGreaterThan(measured * 1.001);
  });
});
