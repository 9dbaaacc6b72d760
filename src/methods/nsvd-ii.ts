/**
 * NSVD-II: NSVD-I with the first step by eigenvectors and pseudo-inverse (ASVD-II).
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   H   n x n   Gram matrix X X^T of the calibration inputs
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-II
 *   A2  m x n   argmin over rank k2 of ||(A - A1) - B||_F: the plain SVD
 *
 * Options: `nesting` = k1 / k, 0.95 in the paper. Equals NSVD-I where H is regular.
 */
import { scope } from "../tensor/index.ts";
import type { Method } from "./method.ts";
import { nested } from "./nested.ts";
import { leading, principalTerms } from "./terms.ts";
import { eigenWhitening, whitenedTerms } from "./whitening.ts";

export const nsvdII: Method = {
  name: "nsvd-ii",
  title: "NSVD-II: as NSVD-I, whitened by eigenvectors",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  decompose({ weight: A, statistics: { gram: H } }, { nesting }) {
    const A1 = scope(() => whitenedTerms(A, eigenWhitening(H)));
    return nested(A, A1, (residual, k2) => leading(principalTerms(residual, k2), k2), nesting);
  },
};
