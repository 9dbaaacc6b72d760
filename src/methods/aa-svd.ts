/**
 * AA-SVD: the dense model's outputs as targets of inputs from the compressed one. arXiv:2604.02119; its refinement of blocks
 * is not here (`refine --level block` is near it).
 *
 *   W  m x n   weight
 *   X  n x N   inputs in the dense model; X' those in the compressed one
 *   W'         argmin over rank k of ||W X - W' X'||_F = SVD_k(W X X'^T (X' X'^T)^-1 L) L^-1 with L L^T = X' X'^T
 */
import { anchored } from "./anchored.ts";
import type { Method } from "./method.ts";

export const aaSvd: Method = {
  name: "aa-svd",
  title: "AA-SVD: the dense outputs from compressed inputs",
  paper: "arXiv:2604.02119",
  needs: ["gram", "dense"],
  propagate: "compressed",
  decompose: (projection) => anchored(projection, 1),
};
