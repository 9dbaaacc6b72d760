/** Every projection keeps the same fraction of its parameters: what the papers compare by. */
import type { Allocator } from "./allocator.ts";
import { rankForKeep } from "./size.ts";

export const uniform: Allocator = {
  name: "uniform",
  title: "the same fraction of every projection",
  allocate: (projections, { keep, rankMultiple }) =>
    new Map(projections.map((p) => [p.name, rankForKeep(p, keep, rankMultiple)])),
};
