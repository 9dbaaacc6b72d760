/**
 * NID-I: NSVD-I with an interpolative decomposition of the residual. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   H   n x n   Gram matrix X X^T of the calibration inputs
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-I, computed without its Cholesky factor
 *   A2  m x n   C Z ~ A - A1: C holds k2 of its columns, Z the identity there
 *
 * Options: `nesting` = k1 / k. A little worse than NSVD-I at the same k, and k2^2 values smaller.
 */
import { activationAware } from "./activation-aware.ts";
import { interpolative } from "./interpolative.ts";
import type { Method } from "./method.ts";
import { nested, unseenRank } from "./nested.ts";

export const nidI: Method = {
  name: "nid-i",
  title: "NID-I: activation-aware SVD, then columns of the residual",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  skeletonRows: (k, { nesting }) => unseenRank(k, nesting),
  decompose: ({ weight: A, statistics: { gram: H } }, { nesting }) => nested(A, activationAware(A, H), interpolative, nesting),
};
