/**
 * Interpolative decomposition by column-pivoted QR: a matrix from a few of its own columns.
 * Cheng, Gimbutas, Martinsson, Rokhlin 2005, "On the compression of low rank matrices".
 *
 *   R  m x n   the matrix, R P = Q [R11 R12; 0 R22], P puts the pivot columns first
 *   C  m x s   the s pivot columns of R
 *   Z  s x n   [I T] P^T with R11 T = R12, so that R ~ C Z, and exactly on the pivot columns
 */
import { diagonal, otherColumns, qrPivoted, scope, solveLower, Tensor, vcat } from "../tensor/index.ts";
import type { Factors } from "./method.ts";

/** R ~ C Z of rank s; Z is stored as its coefficients T alone. */
export function interpolative(R: Tensor, s: number): Factors {
  const n = R.columns;
  return scope(() => {
    const { R: upper, pivots } = qrPivoted(R); // p x n
    const columns = pivots.slice(0, s);
    const T = coefficients(upper, s); // s x (n - s), in pivot order
    const place = new Map(Array.from(pivots.slice(s), (column, i) => [column, i]));
    const ascending = otherColumns(columns, n).map((column) => place.get(column) as number);
    return {
      left: R.selectColumns(columns), // m x s
      right: Tensor.zeros([0, n], "f64"),
      skeleton: { columns, coefficients: T.selectColumns(ascending) },
    };
  });
}

/** T with R11 T = R12. Rows behind the numerical rank of R are 0: their pivots are rounding noise, not to be divided by. */
function coefficients(upper: Tensor, s: number): Tensor {
  const n = upper.columns;
  const r = numericalRank(upper, s);
  const R11 = upper.rowRange(0, r).columnRange(0, r); // r x r
  const R12 = upper.rowRange(0, r).columnRange(s, n); // r x (n - s)
  const solved = r > 0 ? solveLower(R11.T, R12, true) : R12;
  return vcat(solved.contiguous(), Tensor.zeros([s - r, n - s], "f64")); // s x (n - s)
}

/** How many of the first s pivots are above rounding; behind a column of exact zeros the engine's are NaN. */
function numericalRank(upper: Tensor, s: number): number {
  const square = upper.columnRange(0, upper.rows).contiguous(); // p x p
  const pivots = diagonal(square).map(Math.abs).slice(0, s);
  const noise = upper.columns * Number.EPSILON * (pivots[0] ?? 0);
  const rank = pivots.findIndex((pivot) => !(pivot > noise));
  return rank < 0 ? s : rank;
}
