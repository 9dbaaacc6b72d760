/**
 * Plain truncated SVD: min ||W - W'||_F over rank k. Eckart, Young 1936, "The approximation of one matrix by another of
 * lower rank". Sees no data; the baseline of every paper.
 *
 *   W  m x n   weight, W = U Sigma V^T, W' = U_k Sigma_k V_k^T
 */
import type { Method } from "./method.ts";
import { decomposition, principalTerms } from "./terms.ts";

export const svd: Method = {
  name: "svd",
  title: "truncated SVD of the weight",
  paper: "Eckart, Young 1936",
  needs: [],
  propagate: "original",
  decompose: ({ weight: W }) => decomposition(principalTerms(W)),
};
