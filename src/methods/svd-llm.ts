/**
 * SVD-LLM, called ASVD-I in the NSVD paper: truncation-aware whitening by Cholesky.
 * Wang, Zheng, Wan, Zhang 2024, arXiv:2403.07378. Its fine-tuning and its layer-wise update are not here.
 *
 *   W  m x n   weight
 *   H  n x n   Gram matrix X X^T of the calibration inputs
 *   S  n x n   lower Cholesky factor, S S^T = H
 *   W S = U Sigma V^T, W' = U_k Sigma_k V_k^T S^-1; the loss ||(W - W') X||^2 is the sum of the dropped sigma^2
 *
 * Sigma_k V_k^T S^-1 = U_k^T W, and U are the eigenvectors of W H W^T: no S is needed to reach this W', so a singular H (fewer
 * tokens than inputs) needs no damping, and an H larger than W costs no decomposition of its own size.
 */
import { scope } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import type { Method } from "./method.ts";
import { decomposition } from "./terms.ts";

export const svdLlm: Method = {
  name: "svd-llm",
  title: "SVD-LLM (ASVD-I): SVD whitened by Cholesky",
  paper: "arXiv:2403.07378",
  needs: ["gram"],
  propagate: "original",
  decompose: ({ weight: W, statistics: { gram: H } }) =>
    scope(() => {
      const terms = activationAware(W, H);
      return { ...decomposition(terms), outputSpectrum: terms.losses };
    }),
};
