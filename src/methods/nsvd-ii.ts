/**
 * NSVD-II: NSVD-I with the first step by eigenvectors and pseudo-inverse (ASVD-II).
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-II
 *   A2  m x n   argmin over rank k2 of ||(A - A1) - B||_F: the plain SVD
 *
 * Options: `nesting` = k1 / k, 0.95 in the paper; 1 is asvd-ii. Equals NSVD-I where the Gram matrix is regular.
 */
import { asvdII } from "./asvd-ii.ts";
import type { Method } from "./method.ts";
import { PUBLISHED_NESTING } from "./nested.ts";

export const nsvdII: Method = {
  name: "nsvd-ii",
  title: "NSVD-II: as NSVD-I, whitened by eigenvectors",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  nesting: PUBLISHED_NESTING,
  decompose: asvdII.decompose,
};
