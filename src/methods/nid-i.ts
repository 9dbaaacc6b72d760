/**
 * NID-I: NSVD-I with an interpolative decomposition of the residual. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-I, computed without its Cholesky factor
 *   A2  m x n   C Z ~ A - A1: C holds k2 of its columns, Z the identity there
 *
 * Options: `nesting` = k1 / k. A little worse than NSVD-I at the same k, and k2^2 values smaller.
 */
import { interpolative } from "./interpolative.ts";
import type { Method } from "./method.ts";
import { PUBLISHED_NESTING, unseenRank } from "./nested.ts";
import { svdLlm } from "./svd-llm.ts";

export const nidI: Method = {
  name: "nid-i",
  title: "NID-I: activation-aware SVD, then columns of the residual",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  nesting: PUBLISHED_NESTING,
  skeletonRows: (k, { nesting = PUBLISHED_NESTING }) => unseenRank(k, nesting),
  decompose: svdLlm.decompose,
  fitResidual: interpolative,
};
