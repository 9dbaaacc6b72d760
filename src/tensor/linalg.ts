/** Decompositions in f64. Inputs of another dtype are converted first; every result is f64. */
import { ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";
import { describe, scope, Tensor, wrap } from "./tensor.ts";

/** A = Q diag(values) Q^T: values n (largest first), vectors n x n, one eigenvector a column. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Tensor;
}

/** A = U diag(values) Vt: U m x p, values p (largest first), Vt p x n, p = min(m, n). */
export interface Svd {
  readonly U: Tensor;
  readonly values: Float64Array;
  readonly Vt: Tensor;
}

/** Eigendecomposition of a symmetric matrix; only the lower triangle is read. */
export function eigh(A: Tensor): Eigen {
  square("eigh", A);
  return scope(() => {
    const [values, vectors] = call("eigh", () => native.eigh(A.to("f64").handle)).map((t) => new Tensor(t)) as [Tensor, Tensor];
    return { values: values.toFloat64Array(), vectors };
  });
}

/** Thin singular value decomposition. */
export function svd(A: Tensor): Svd {
  return scope(() => {
    const [U, values, Vt] = call("svd", () => native.svd(A.to("f64").handle)).map((t) => new Tensor(t)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    return { U, values: values.toFloat64Array(), Vt };
  });
}

/** L with L L^T = A, lower triangular; undefined when A is not positive definite. */
export function cholesky(A: Tensor): Tensor | undefined {
  square("cholesky", A);
  return scope(() => {
    const factor = call("cholesky", () => native.cholesky(A.to("f64").handle));
    return factor ? new Tensor(factor) : undefined;
  });
}

/** X with L X = B, or L^T X = B when `transposed`; L n x n lower triangular, B n x p. */
export function solveLower(L: Tensor, B: Tensor, transposed = false): Tensor {
  square("solveLower", L);
  if (L.columns !== B.rows) throw new ShapeError("solveLower", `${L.columns} rows`, describe(B));
  return scope(() => wrap("solveLower", () => native.solveLower(L.to("f64").handle, B.to("f64").handle, transposed)));
}

/** A P = Q R by column pivoting: R p x n (p = min(m, n)), and the columns of A in pivot order. */
export function qrPivoted(A: Tensor): { readonly R: Tensor; readonly pivots: Uint32Array } {
  return scope(() => {
    const { r, permutation } = call("qrPivoted", () => native.qrPivoted(A.to("f64").handle));
    return { R: new Tensor(r), pivots: Uint32Array.from(permutation) };
  });
}

/** A vector as a 1 x n matrix, f64. */
export function row(values: ArrayLike<number>): Tensor {
  return Tensor.from(Float64Array.from(values), [1, values.length]);
}

/** A with column j multiplied by `factors[j]`. */
export function scaleColumns(A: Tensor, factors: ArrayLike<number>): Tensor {
  return scope(() => A.mul(row(factors).to(A.dtype)));
}

/** A with row i multiplied by `factors[i]`. */
export function scaleRows(A: Tensor, factors: ArrayLike<number>): Tensor {
  return scope(() => A.mul(row(factors).reshape(factors.length, 1).to(A.dtype)));
}

/** The n x n identity, f64. */
export function identity(n: number): Tensor {
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++) values[i * n + i] = 1;
  return Tensor.from(values, [n, n]);
}

/** The diagonal of a square matrix. */
export function diagonal(A: Tensor): Float64Array {
  square("diagonal", A);
  const n = A.rows;
  return scope(() =>
    A.contiguous()
      .reshape(n * n, 1)
      .selectRows(Array.from({ length: n }, (_, i) => i * (n + 1)))
      .toFloat64Array(),
  );
}

/** tr(A) / n. */
export function meanDiagonal(A: Tensor): number {
  return diagonal(A).reduce((a, b) => a + b, 0) / A.rows;
}

/** A + value I, without an identity in memory. */
export function addToDiagonal(A: Tensor, value: number): Tensor {
  square("addToDiagonal", A);
  return scope(() => wrap("addToDiagonal", () => native.addToDiagonal(A.to("f64").handle, value)));
}

function square(operation: string, A: Tensor): void {
  if (A.rows !== A.columns) throw new ShapeError(operation, "a square matrix", describe(A));
}
