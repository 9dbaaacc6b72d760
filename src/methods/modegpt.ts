/**
 * MoDeGPT: every part of a block narrower, none factored; three decompositions by what a part is made of (nystrom.ts, cr.ts,
 * value-output.ts). Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu 2024, arXiv:2408.09632. Its own allocation is `influence`.
 */
import { UnsupportedError } from "../errors.ts";
import type { Method } from "./method.ts";

export const modegpt: Method = {
  name: "modegpt",
  title: "narrower MLPs and attention heads, no factors",
  paper: "arXiv:2408.09632",
  needs: ["gram", "moments"],
  propagate: "original",
  parts: true,
  decompose() {
    throw new UnsupportedError("modegpt makes parts of blocks narrower; it has no factors of a single projection");
  },
};
