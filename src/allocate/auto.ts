/**
 * `kl` over replacements of every kind: low rank for each projection, or narrower parts of a block, or dense. Pilot blocks say
 * which kinds are worth measuring, and for parts what they cost in the blocks between.
 */
import type { Allocator } from "./allocator.ts";
import { leastError } from "./measured.ts";
import { scaledDivergence } from "./scaled-divergence.ts";

export const auto: Allocator = {
  name: "auto",
  title: "measured divergence over factors and narrower parts",
  needs: "divergences",
  parts: "beside",
  tries: { ranks: [0.5], widths: [0.5] },
  pilots: true,
  allocate: (candidates, target) => leastError(candidates, target, scaledDivergence),
};
