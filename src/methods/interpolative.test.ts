import { expect, test } from "vitest";
import { distance, randomMatrix } from "../../test/problem.ts";
import { hcat, identity, Tensor, vcat } from "../tensor/index.ts";
import { expand, parameters, product } from "./factors.ts";
import { interpolative } from "./interpolative.ts";
import { principalTerms } from "./terms.ts";

/** f64 rounding at these sizes, n eps, times 1e4. */
const TIGHT = 1e-10;

test("left holds columns of the matrix, and right the identity there", () => {
  const R = randomMatrix(8, 13, 1);
  const factors = interpolative(R, 5);
  const columns = factors.skeleton?.columns as Uint32Array;
  expect(distance(factors.left, R.selectColumns(columns))).toBe(0);
  expect(distance(expand(factors).right.selectColumns(columns), identity(5))).toBe(0);
  expect(distance(product(factors).selectColumns(columns), R.selectColumns(columns))).toBeLessThan(TIGHT);
});

test("the identity is not stored: s (m + n) - s^2 values", () => {
  expect(parameters(interpolative(randomMatrix(8, 13, 1), 5))).toBe(5 * (8 + 13) - 25);
  expect(parameters(interpolative(randomMatrix(8, 13, 1), 1))).toBe(20);
});

test("is exact at the matrix's rank, wide, tall or deficient", () => {
  for (const [m, n, rank] of [
    [8, 13, 8],
    [13, 8, 8],
    [10, 12, 3],
    [1, 7, 1],
    [7, 1, 1],
  ] as const) {
    const R = randomMatrix(m, rank, 2).matmul(randomMatrix(rank, n, 3));
    expect(distance(product(interpolative(R, rank)), R)).toBeLessThan(TIGHT);
    const beyond = product(interpolative(R, Math.min(m, n)));
    expect(distance(beyond, R)).toBeLessThan(TIGHT);
  }
});

test("exact zeros, in the whole matrix or behind its rank, stay zeros", () => {
  expect(product(interpolative(Tensor.zeros([4, 6], "f64"), 3)).sumOfSquares()).toBe(0);
  const corner = vcat(identity(2), Tensor.zeros([3, 2], "f64")); // 5 x 2
  const R = hcat(corner, corner, Tensor.zeros([5, 3], "f64"));
  for (const s of [2, 3, 5]) expect(distance(product(interpolative(R, s)), R)).toBeLessThan(TIGHT);
});

test("given the columns, the coefficients are the least-squares ones", () => {
  const R = randomMatrix(9, 7, 4);
  const { left: C } = interpolative(R, 3);
  const error = R.sub(product(interpolative(R, 3)));
  expect(Math.sqrt(C.T.matmul(error).sumOfSquares() / R.sumOfSquares())).toBeLessThan(TIGHT);
  const best = principalTerms(R)
    .losses.slice(3)
    .reduce((a, b) => a + b, 0);
  expect(error.sumOfSquares()).toBeGreaterThan(best);
  expect(error.sumOfSquares()).toBeLessThan(best * 3 * (7 - 3)); // far inside the bound of pivoted QR, 4^s
});
