/**
 * Ridge: one activation-aware fit under H + mu tr(H)/n I, between the calibration inputs (mu = 0, svd-llm) and inputs of which
 * nothing is known (mu large, svd). Our one-shot competitor of NSVD's two steps; no paper.
 *
 *   W  m x n   weight
 *   H  n x n   Gram matrix X X^T of the calibration inputs
 *
 * The losses are those of ||(W - W') X||^2 + mu tr(H)/n ||W - W'||_F^2.
 */
import { addToDiagonal, meanDiagonal, scope } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import type { Method } from "./method.ts";
import { decomposition } from "./terms.ts";

export const ridge: Method = {
  name: "ridge",
  title: "activation-aware SVD under a damped Gram matrix",
  paper: "rankfold",
  needs: ["gram"],
  propagate: "original",
  decompose: ({ weight: W, statistics: { gram: H } }, { mu }) =>
    scope(() => {
      const damped = addToDiagonal(H, mu * meanDiagonal(H)); // n x n
      return decomposition(activationAware(W, damped), mu);
    }),
};
