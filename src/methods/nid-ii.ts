/**
 * NID-II: NID-I with the first step by eigenvectors and pseudo-inverse (ASVD-II).
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-II
 *   A2  m x n   C Z ~ A - A1: C holds k2 of its columns, Z the identity there
 *
 * Options: `nesting` = k1 / k. Equals NID-I where the Gram matrix is regular.
 */
import { asvdII } from "./asvd-ii.ts";
import { interpolative } from "./interpolative.ts";
import type { Method } from "./method.ts";
import { PUBLISHED_NESTING, unseenRank } from "./nested.ts";

export const nidII: Method = {
  name: "nid-ii",
  title: "NID-II: as NID-I, whitened by eigenvectors",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  nesting: PUBLISHED_NESTING,
  skeletonRows: (k, { nesting = PUBLISHED_NESTING }) => unseenRank(k, nesting),
  decompose: asvdII.decompose,
  fitResidual: interpolative,
};
