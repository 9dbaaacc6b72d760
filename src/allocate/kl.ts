/**
 * Measured divergences of each projection alone, scaled along its loss curve; the least sum under the size. LEMS, ICML 2026,
 * without its depth bias, which on SmolLM2-135M helped no text at keep .8.
 */
import type { Allocator } from "./allocator.ts";
import { leastError } from "./measured.ts";
import { scaledDivergence } from "./scaled-divergence.ts";

export const kl: Allocator = {
  name: "kl",
  title: "measured divergence, scaled along the loss curve",
  needs: "divergences",
  parts: "instead",
  allocate: (candidates, target) => leastError(candidates, target, scaledDivergence),
};
