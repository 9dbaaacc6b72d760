/** Anchored methods hold to their definition: targets from the dense model's inputs X, maps of the compressed one's X'. */
import { describe, expect, test } from "vitest";
import { distance, problem, randomMatrix, shifted, statisticsOf } from "../../test/problem.ts";
import { cholesky, scope, solveLower, type Tensor } from "../tensor/index.ts";
import { product } from "./factors.ts";
import { calibrationLoss, costs } from "./measure.ts";
import { METHOD_DEFAULTS } from "./method.ts";
import { methodNamed } from "./registry.ts";

/** The damping of 1e-6 moves W* by so much, times the condition number below 1e3; losses by its square. */
const DAMPED = 1e-3;
const CLOSE = 1e-6;
const TIGHT = 1e-10;

type Given = ReturnType<typeof shiftedProblem>;

/** Inputs of the compressed model: those of the dense one, mixed a little and with errors of their own. */
function shiftedProblem(m: number, n: number, tokens = 3 * n + 5) {
  const given = problem(m, n, { tokens });
  const mixed = given.X.T.add(given.X.T.matmul(randomMatrix(n, n, 7)).scale(0.1 / n));
  return shifted(given, mixed.add(randomMatrix(tokens, n, 8).scale(0.1)));
}

function factors(name: string, given: Given, k: number, options = {}) {
  return methodNamed(name)
    .decompose(given, { ...METHOD_DEFAULTS, ...options })
    .factors(k);
}

const map = (name: string, given: Given, k: number, options = {}) => scope(() => product(factors(name, given, k, options)));

/** W ((1 - beta) X' + beta X), m x N. */
const targetsOf = ({ weight: W, X, compressed }: Given, beta: number) =>
  scope(() => W.matmul(compressed.scale(1 - beta).add(X.scale(beta))));

/** ||T - V X'||^2 */
const missed = (given: Given, V: Tensor, beta: number) =>
  scope(() => targetsOf(given, beta).sub(V.matmul(given.compressed)).sumOfSquares());

/** T X'^T (X' X'^T)^-1 without damping, m x n. */
function leastSquares(given: Given, beta: number): Tensor {
  return scope(() => {
    const L = cholesky(given.statistics.gram) as Tensor;
    const crossed = targetsOf(given, beta).matmul(given.compressed.T); // m x n
    return solveLower(L, solveLower(L, crossed.T), true).T;
  });
}

describe.each([
  [12, 12],
  [7, 19],
  [23, 11],
])("%i x %i", (m, n) => {
  const given = shiftedProblem(m, n);
  const full = Math.min(m, n);
  const k = Math.floor(full / 2);

  test("saes-svd at anchor 1 is aa-svd, and at 0 svd-llm on the compressed inputs", () => {
    expect(distance(map("saes-svd", given, k, { anchor: 1 }), map("aa-svd", given, k))).toBe(0);
    expect(distance(map("saes-svd", given, k, { anchor: 0 }), map("svd-llm", given, k))).toBe(0);
  });

  test("where both models' inputs are equal aa-svd is svd-llm", () => {
    const same = shifted(given, given.X.T);
    expect(distance(map("aa-svd", same, k), map("svd-llm", same, k))).toBeLessThan(TIGHT);
  });

  test.each([0.3, 1])("all of the rank is the least squares map, anchor %f", (anchor) => {
    const expected = leastSquares(given, anchor);
    const made = map("saes-svd", given, full, { anchor });
    expect(distance(made, expected)).toBeLessThan(DAMPED);
    expect(missed(given, made, anchor) / missed(given, expected, anchor) - 1).toBeLessThan(CLOSE);
  });

  test.each([0.3, 1])("loses what it predicts beside what no map can mend, anchor %f", (anchor) => {
    const { losses } = methodNamed("saes-svd").decompose(given, { ...METHOD_DEFAULTS, anchor });
    const never = missed(given, leastSquares(given, anchor), anchor);
    for (let rank = 1; rank <= full; rank++) {
      const predicted = never + (losses as Float64Array).slice(rank).reduce((a, b) => a + b, 0);
      expect(missed(given, map("saes-svd", given, rank, { anchor }), anchor) / predicted - 1).toBeLessThan(DAMPED);
    }
  });

  test.each([0.3, 1])("no other method comes nearer to its targets from compressed inputs, anchor %f", (anchor) => {
    for (let rank = 1; rank <= full; rank++) {
      const own = missed(given, map("saes-svd", given, rank, { anchor }), anchor);
      for (const other of ["svd-llm", "svd", "ridge"])
        expect(own).toBeLessThan(missed(given, map(other, given, rank), anchor) * (1 + CLOSE));
    }
  });

  test("what is reported is how near the outputs come to the dense model's", () => {
    const made = factors("aa-svd", given, k);
    const byDefinition = missed(given, product(made), 1);
    expect(calibrationLoss(given.weight, made, given.statistics) / byDefinition).toBeCloseTo(1, 8);
    const energy = scope(() => given.weight.matmul(given.X).sumOfSquares());
    expect(costs(given.weight, made, given.statistics).retainedEnergy).toBeCloseTo(1 - byDefinition / energy, 8);
  });

  test("nested, the second fit is to what the first leaves of the target", () => {
    expect(distance(map("aa-svd", given, full, { nesting: 0.5 }), map("aa-svd", given, full))).toBeLessThan(CLOSE);
  });
});

test("fewer tokens than inputs, or none but zeros, leave it finite; directions never seen keep the weight", () => {
  const few = shiftedProblem(9, 14, 4);
  const made = map("aa-svd", few, 9);
  const change = made.sub(few.weight); // of rank 4 at most
  const unseen = randomMatrix(14, 1, 3);
  const seen = leadingBasis(few.compressed); // 14 x 4
  const outside = unseen.sub(seen.matmul(seen.T).matmul(unseen));
  expect(change.matmul(outside).sumOfSquares() / change.sumOfSquares()).toBeLessThan(CLOSE);
  const silent = shifted({ ...few, X: few.X.scale(0), statistics: statisticsOf(few.X.T.scale(0)) }, few.X.T.scale(0));
  expect(map("aa-svd", silent, 5).isFinite()).toBe(true);
});

/** Orthonormal columns that span those of A. */
function leadingBasis(A: Tensor): Tensor {
  return scope(() => {
    const L = cholesky(A.T.matmul(A)) as Tensor;
    return solveLower(L, A.T).T.contiguous();
  });
}

test("a method that compares both models says so when it is given one", () => {
  const { statistics, ...rest } = problem(4, 4);
  expect(() => methodNamed("aa-svd").decompose({ ...rest, statistics }, METHOD_DEFAULTS)).toThrow(/inputs of both models/);
});
