/** The least sum of squared calibration losses: exact, for the losses of dropped directions add up (methods.md section 0). */
import type { Allocator } from "./allocator.ts";
import { leastError } from "./measured.ts";
import { lossItself } from "./options.ts";

export const energy: Allocator = {
  name: "energy",
  title: "the least sum of calibration losses",
  needs: "losses",
  parts: "instead",
  allocate: (candidates, target) => leastError(candidates, target, lossItself),
};
