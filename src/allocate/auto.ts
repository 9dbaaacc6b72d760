/** `kl` over replacements of every kind: low rank for each projection, or fewer channels for an MLP, or dense. */
import type { Allocator } from "./allocator.ts";
import { leastError } from "./measured.ts";
import { scaledDivergence } from "./scaled-divergence.ts";

export const auto: Allocator = {
  name: "auto",
  title: "measured divergence over factors and fewer channels",
  needs: "divergences",
  parts: "beside",
  allocate: (candidates, target) => leastError(candidates, target, scaledDivergence),
};
