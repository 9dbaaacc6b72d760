import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cholesky, diagonal, eigh, identity, qrPivoted, scaleColumns, solveLower, svd } from "./linalg.ts";
import { random } from "./random.test-helper.ts";
import { TokenSums } from "./statistics.ts";
import { scope, type Tensor } from "./tensor.ts";

const sizes = fc.integer({ min: 1, max: 40 });
/** Relative Frobenius error. */
const error = (got: Tensor, expected: Tensor) => Math.sqrt(got.sub(expected).sumOfSquares() / (expected.sumOfSquares() || 1));
/** f64 rounding grows with the size of the matrix. */
const tolerance = (n: number) => 100 * n * Number.EPSILON;
const scales = fc.constantFrom(1e-8, 1, 1e8);

/** Positive semidefinite, of rank at most `tokens`. */
function gram(n: number, tokens: number, scale = 1): Tensor {
  const x = random(tokens, n, 3).to("f64").scale(scale);
  return x.T.matmul(x);
}

const onShapes = (check: (m: number, n: number, scale: number) => void) =>
  fc.assert(
    fc.property(sizes, sizes, scales, (m, n, scale) => scope(() => check(m, n, scale))),
    { numRuns: 30 },
  );

describe("decompositions give the matrix back", () => {
  test("eigh, singular or not; values fall, vectors are orthonormal", () => {
    onShapes((n, tokens, scale) => {
      const A = gram(n, tokens, scale);
      const { values, vectors: Q } = eigh(A);
      expect(error(scaleColumns(Q, values).matmul(Q.T), A)).toBeLessThan(tolerance(n));
      expect(error(Q.T.matmul(Q), identity(n))).toBeLessThan(tolerance(n));
      for (let i = 1; i < n; i++) expect(values[i]).toBeLessThanOrEqual(values[i - 1] as number);
    });
  });

  test("svd, wide and tall", () => {
    onShapes((m, n, scale) => {
      const A = random(m, n, 1).to("f64").scale(scale);
      const { U, values, Vt } = svd(A);
      expect(U.shape).toEqual([m, Math.min(m, n)]);
      expect(error(scaleColumns(U, values).matmul(Vt), A)).toBeLessThan(tolerance(Math.max(m, n)));
      expect(error(Vt.matmul(Vt.T), identity(Math.min(m, n)))).toBeLessThan(tolerance(Math.max(m, n)));
    });
  });

  test("cholesky of a definite matrix; none of an indefinite one", () => {
    onShapes((n, extra, scale) => {
      const A = gram(n, n + extra, scale).add(identity(n).scale(1e-3 * scale * scale));
      const L = cholesky(A) as Tensor;
      expect(error(L.matmul(L.T), A)).toBeLessThan(tolerance(n));
      expect(cholesky(A.scale(-1))).toBeUndefined();
    });
  });

  test("triangular solves from both sides", () => {
    onShapes((n, p) => {
      const L = cholesky(gram(n, n + 3).add(identity(n))) as Tensor;
      const B = random(n, p, 4).to("f64");
      expect(error(L.matmul(solveLower(L, B)), B)).toBeLessThan(1e3 * tolerance(n));
      expect(error(L.T.matmul(solveLower(L, B, true)), B)).toBeLessThan(1e3 * tolerance(n));
    });
  });

  test("pivoted QR: R^T R is the Gram matrix of the pivoted columns, and its diagonal falls", () => {
    onShapes((m, n) => {
      const A = random(m, n, 2).to("f64");
      const { R, pivots } = qrPivoted(A);
      const P = A.selectColumns(pivots);
      expect(error(R.T.matmul(R), P.T.matmul(P))).toBeLessThan(tolerance(m + n));
      const size = Math.min(m, n);
      const falling = diagonal(R.columnRange(0, size).contiguous()).map(Math.abs);
      for (let i = 1; i < size; i++) expect(falling[i]).toBeLessThanOrEqual((falling[i - 1] as number) * (1 + 1e-9));
    });
  });
});

describe("sums over tokens", () => {
  test("agree with a product in f64, whatever the batches", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 420 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 }),
        (n, batches) =>
          scope(() => {
            const sums = new TokenSums(n);
            const parts = batches.map((t, i) => random(t, n, 10 + i));
            for (const part of parts) sums.add(part);
            const expected = parts.map((x) => x.to("f64")).reduce((total, x) => total.add(x.T.matmul(x)), identity(n).scale(0));
            // f32 products of at most 60 tokens a batch.
            expect(error(sums.takeGram(), expected)).toBeLessThan(60 * 2 ** -23);
            expect(sums.tokens).toBe(batches.reduce((a, b) => a + b, 0));
            sums.dispose();
          }),
      ),
      { numRuns: 20 },
    );
  });

  test("moments are the sums of x, of |x|, the largest |x|, and the scaled mean of each batch", () => {
    scope(() => {
      const x = random(50, 3, 1);
      const sums = new TokenSums(3, { gram: false });
      const batches = [x.rowRange(0, 18), x.rowRange(18, 50)].map((batch) => batch.contiguous());
      for (const batch of batches) sums.add(batch);
      const values = x.toFloat64Array();
      const column = (f: (column: number[]) => number) =>
        [0, 1, 2].map((j) => f(Array.from({ length: 50 }, (_, i) => values[i * 3 + j] as number)));
      const expected = [
        ...column((c) => c.reduce((a, b) => a + b, 0)),
        ...column((c) => c.reduce((a, b) => a + Math.abs(b), 0)),
        ...column((c) => Math.max(...c.map(Math.abs))),
        ...column((c) => c.slice(0, 18).reduce((a, b) => a + b, 0) / Math.sqrt(18)),
        ...column((c) => c.slice(18).reduce((a, b) => a + b, 0) / Math.sqrt(32)),
      ];
      expect(sums.moments().shape).toEqual([5, 3]);
      sums
        .moments()
        .toFloat64Array()
        .forEach((value, i) => {
          expect(value).toBeCloseTo(expected[i] as number, 9);
        });
    });
  });
});
