/**
 * ASVD-II: whitening by eigenvectors, with a pseudo-inverse; also the truncation of SVD-LLM v2 (arXiv:2503.12340).
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A  m x n   weight
 *   H  n x n   Gram matrix X X^T of the calibration inputs, H = P Lambda P^T
 *   S  n x n   P Lambda^(1/2); A S = U Sigma V^T, A' = U_k Sigma_k V_k^T S^+
 *
 * Equals ASVD-I (svd-llm) where H is regular. Where H is singular S^+ maps what calibration never saw to 0: at full rank A'
 * is A on the span of the calibration inputs alone.
 */
import { scope } from "../tensor/index.ts";
import type { Method } from "./method.ts";
import { decomposition } from "./terms.ts";
import { eigenWhitening, whitenedTerms } from "./whitening.ts";

export const asvdII: Method = {
  name: "asvd-ii",
  title: "ASVD-II: SVD whitened by eigenvectors",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  decompose({ weight: A, statistics: { gram: H } }) {
    const terms = scope(() => whitenedTerms(A, eigenWhitening(H)));
    return { ...decomposition(terms), outputSpectrum: terms.losses };
  },
};
