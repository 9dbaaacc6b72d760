/**
 * ASVD, called ASVD-0 in the NSVD paper: activation-aware SVD by a scale per input.
 * Yuan, Shang, Song, Wu, Yan, Sun 2023, arXiv:2312.05821. Needs no Gram matrix.
 *
 *   W  m x n   weight
 *   a  n       mean (or largest) |x_i| over the calibration tokens
 *   S  n x n   diag(a^alpha + floor); W S = U Sigma V^T, W' = U_k Sigma_k V_k^T S^-1
 *
 * Options: `alpha`, `scale`. The SVD is exact where the authors' code draws a randomised one of rank k.
 */
import type { Method } from "./method.ts";
import { decomposition } from "./terms.ts";
import { diagonalWhitening, whitenedTerms } from "./whitening.ts";

/** Keeps inputs that were always 0 invertible; relative to the mean of a^alpha, where the authors add 1e-6 as it stands. */
const FLOOR = 1e-6;

export const asvd: Method = {
  name: "asvd",
  title: "ASVD (ASVD-0): SVD scaled by input magnitudes",
  paper: "arXiv:2312.05821",
  needs: ["moments"],
  propagate: "original",
  decompose({ weight: W, statistics: { meanAbs, maxAbs } }, { alpha, scale }) {
    const a = scale === "abs-max" ? maxAbs : meanAbs; // n
    return decomposition(whitenedTerms(W, diagonalWhitening(scales(a, alpha))));
  },
};

/** a^alpha + floor; all ones when every input was 0. */
export function scales(a: Float64Array, alpha: number): Float64Array {
  const s = a.map((value) => value ** alpha); // n
  const mean = s.reduce((sum, value) => sum + value, 0) / s.length;
  return mean > 0 ? s.map((value) => value + FLOOR * mean) : s.fill(1);
}
