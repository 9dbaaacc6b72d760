/** Every projection keeps the same fraction of its parameters: what the papers compare by. */
import type { Allocator } from "./allocator.ts";
import { rankForKeep } from "./size.ts";

export const uniform: Allocator = {
  name: "uniform",
  title: "the same fraction of every projection",
  needs: "shapes",
  channels: false,
  allocate({ projections }, { keep, rankMultiple }) {
    const ranks = projections.map((p) => [p.name, rankForKeep(p, keep, rankMultiple)] as const);
    return { ranks: new Map(ranks.flatMap(([name, rank]) => (rank === undefined ? [] : [[name, rank]]))), widths: new Map() };
  },
};
