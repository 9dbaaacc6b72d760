/** Every projection, or every part of every block, keeps the same fraction of its parameters: what the papers compare by. */
import type { Allocator } from "./allocator.ts";
import { byFraction } from "./fraction.ts";

export const uniform: Allocator = {
  name: "uniform",
  title: "the same fraction of every projection",
  needs: "shapes",
  parts: "instead",
  allocate: (candidates, target) => byFraction(candidates, target, () => target.keep),
};
