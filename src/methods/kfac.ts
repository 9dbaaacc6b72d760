/**
 * Two-sided low rank: a direction counts by how much the loss feels it, not by its energy alone. Martens, Grosse 2015,
 * arXiv:1503.05671 (K-FAC: the Fisher matrix of a weight is about H (x) G); Frantar, Alistarh 2022 and others for pruning.
 *
 *   W  m x n   weight, y = W x
 *   H  n x n   Gram matrix of the inputs x
 *   L  m x m   Cholesky factor of the metric of the outputs, from the loss's gradients there (output-metric.ts)
 *   W' = L^-T U_k U_k^T L^T W with U the eigenvectors of L^T W H W^T L: the best rank k in ||L^T (W - W') X||_F
 *
 * Options: `shrinkage`; 1 is svd-llm. On SmolLM2-135M at half the break-even rank, 1/2 lowers the divergence of q_proj and
 * k_proj up to eightfold against svd-llm, that of the others by up to a quarter; 1/5 is better than 1/2 and level with 1/20
 * (docs/allocation.md).
 */

import { NumericsError } from "../errors.ts";
import { scope, solveLower } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import type { Method } from "./method.ts";
import { outputMetric } from "./output-metric.ts";
import { decomposition } from "./terms.ts";

export const kfac: Method = {
  name: "kfac",
  title: "K-FAC: SVD in the metric of inputs and output gradients",
  paper: "arXiv:1503.05671",
  needs: ["gram", "gradients"],
  propagate: "original",
  decompose: ({ weight: W, statistics: { gram: H }, gradients: G }, { shrinkage }) =>
    scope(() => {
      if (!G) throw new NumericsError("kfac: expected the Gram matrix of the output gradients, got none");
      const L = outputMetric(G, shrinkage); // m x m
      const { left, right, losses } = activationAware(L.T.matmul(W), H);
      return decomposition({ left: solveLower(L, left, true), right, losses });
    }),
};
