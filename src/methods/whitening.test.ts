import { expect, test } from "vitest";
import { distance, problem, randomMatrix } from "../../test/problem.ts";
import { identity, type Tensor } from "../tensor/index.ts";
import { diagonalWhitening, eigenWhitening, type Whitening } from "./whitening.ts";

/** f64 rounding of products and eigenvectors at these sizes, n eps, times 1e4. */
const TIGHT = 1e-10;

/** S S^T. */
function square(whitening: Whitening, n: number): Tensor {
  const S = whitening.apply(identity(n));
  return S.matmul(S.T);
}

test("S S^T is the Gram matrix, and S^-1 undoes S", () => {
  const H = problem(1, 12).statistics.gram;
  const A = randomMatrix(5, 12, 2);
  const whitening = eigenWhitening(H);
  expect(distance(square(whitening, 12), H)).toBeLessThan(TIGHT);
  expect(distance(whitening.undo(whitening.apply(A)), A)).toBeLessThan(TIGHT);
  const s = Float64Array.from({ length: 12 }, (_, i) => 1 + i);
  expect(distance(diagonalWhitening(s).undo(diagonalWhitening(s).apply(A)), A)).toBeLessThan(TIGHT);
});

test("the pseudo-inverse gives back what the inputs spanned and nothing else", () => {
  const { statistics, X } = problem(1, 12, { tokens: 4 });
  const whitening = eigenWhitening(statistics.gram);
  expect(distance(square(whitening, 12), statistics.gram)).toBeLessThan(TIGHT);
  const A = randomMatrix(5, 12, 2);
  const seen = whitening.undo(whitening.apply(A));
  expect(distance(seen.matmul(X), A.matmul(X))).toBeLessThan(TIGHT);
  expect(seen.sumOfSquares()).toBeLessThan(A.sumOfSquares());
});
