/**
 * `kl` over replacements of every kind: low rank for each projection, or narrower parts of a block, or dense. Pilot blocks say
 * which kinds are worth it. Divergences are estimated to second order (evaluate/second-order.ts), which is so much cheaper than to
 * run the model for each that every module is tried at two sizes.
 */
import type { Allocator } from "./allocator.ts";
import { leastError } from "./measured.ts";
import { scaledDivergence } from "./scaled-divergence.ts";
import { smoothedOverDepth } from "./smoothed.ts";

export const auto: Allocator = {
  name: "auto",
  title: "estimated divergence over factors and narrower parts",
  needs: "divergences",
  parts: "beside",
  tries: { ranks: [0.5, 0.25], widths: [0.7, 0.45] },
  secondOrder: true,
  pilots: true,
  allocate: (candidates, target) =>
    leastError({ ...candidates, parts: smoothedOverDepth(candidates.parts) }, target, scaledDivergence),
};
