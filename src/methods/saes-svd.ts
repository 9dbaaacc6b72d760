/**
 * SAES-SVD: targets between the dense model's outputs and those of the weight on compressed inputs. arXiv:2602.03051.
 *
 *   W     m x n   weight
 *   X     n x N   inputs in the compressed model; X^f those in the dense one
 *   W'            argmin over rank k of ||(W X + alpha W X^f) / (1 + alpha) - W' X||_F
 *   beta          alpha / (1 + alpha), here the option `anchor`
 *
 * beta 1 is aa-svd, 0 is svd-llm on compressed inputs. The paper chooses alpha in [1/4, 3/4] for each layer, by a rule that we have
 * not read in full; here it is one for all, by default 1/2.
 */
import { anchored } from "./anchored.ts";
import type { Method } from "./method.ts";

/** alpha 1/2. */
const ANCHOR = 1 / 3;

export const saesSvd: Method = {
  name: "saes-svd",
  title: "SAES-SVD: dense and compressed outputs mixed, from compressed inputs",
  paper: "arXiv:2602.03051",
  needs: ["gram", "dense"],
  propagate: "compressed",
  decompose: (projection, { anchor = ANCHOR }) => anchored(projection, anchor),
};
