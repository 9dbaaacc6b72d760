/**
 * NSVD-I: nested activation-aware decomposition. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   H   n x n   Gram matrix X X^T of the calibration inputs
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-I, computed without its Cholesky factor
 *   A2  m x n   argmin over rank k2 of ||(A - A1) - B||_F: the plain SVD
 *
 * Options: `nesting` = k1 / k, 0.95 in the paper; 1 is svd-llm, 0 is svd.
 */
import { activationAware } from "./activation-aware.ts";
import type { Method } from "./method.ts";
import { nested } from "./nested.ts";
import { leading, principalTerms } from "./terms.ts";

export const nsvdI: Method = {
  name: "nsvd-i",
  title: "NSVD-I: activation-aware SVD, then SVD of the residual",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  decompose({ weight: A, statistics: { gram: H } }, { nesting }) {
    const A1 = activationAware(A, H);
    return nested(A, A1, (residual, k2) => leading(principalTerms(residual, k2), k2), nesting);
  },
};
