/**
 * NID-II: NID-I with the first step by eigenvectors and pseudo-inverse (ASVD-II).
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   H   n x n   Gram matrix X X^T of the calibration inputs
 *   A1  m x n   argmin over rank k1 of ||(A - B) X||: ASVD-II
 *   A2  m x n   C Z ~ A - A1: C holds k2 of its columns, Z the identity there
 *
 * Options: `nesting` = k1 / k. Equals NID-I where H is regular.
 */
import { scope } from "../tensor/index.ts";
import { interpolative } from "./interpolative.ts";
import type { Method } from "./method.ts";
import { nested, unseenRank } from "./nested.ts";
import { eigenWhitening, whitenedTerms } from "./whitening.ts";

export const nidII: Method = {
  name: "nid-ii",
  title: "NID-II: as NID-I, whitened by eigenvectors",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  skeletonRows: (k, { nesting }) => unseenRank(k, nesting),
  decompose({ weight: A, statistics: { gram: H } }, { nesting }) {
    const A1 = scope(() => whitenedTerms(A, eigenWhitening(H)));
    return nested(A, A1, interpolative, nesting);
  },
};
