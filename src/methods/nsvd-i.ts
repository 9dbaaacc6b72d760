/**
 * NSVD-I: nested activation-aware decomposition. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-I, computed without its Cholesky factor
 *   A2  m x n   argmin over rank k2 of ||(A - A1) - B||_F: the plain SVD
 *
 * Options: `nesting` = k1 / k, 0.95 in the paper; 1 is svd-llm, 0 is svd.
 */
import type { Method } from "./method.ts";
import { PUBLISHED_NESTING } from "./nested.ts";
import { svdLlm } from "./svd-llm.ts";

export const nsvdI: Method = {
  name: "nsvd-i",
  title: "NSVD-I: activation-aware SVD, then SVD of the residual",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  nesting: PUBLISHED_NESTING,
  decompose: svdLlm.decompose,
};
