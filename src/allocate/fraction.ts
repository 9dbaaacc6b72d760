/** What allocators by block share: each block keeps a fraction of its parameters, all its modules alike. */
import type { BlockWidths } from "../models/model.ts";
import type { Allocation, Candidates, PartCandidate, Target } from "./allocator.ts";
import { rankForKeep } from "./size.ts";

/** @param keepOf the fraction that a block keeps, in (0, 1]. */
export function byFraction(
  { projections, parts, factored }: Candidates,
  { rankMultiple }: Pick<Target, "rankMultiple">,
  keepOf: (block: number) => number,
): Allocation {
  if (!factored) return { ranks: new Map(), widths: widthsByFraction(parts, keepOf) };
  const ranks = projections.map((p) => [p.name, rankForKeep(p, keepOf(p.block), rankMultiple)] as const);
  return { ranks: new Map(ranks.flatMap(([name, rank]) => (rank === undefined ? [] : [[name, rank]]))), widths: new Map() };
}

function widthsByFraction(parts: readonly PartCandidate[], keepOf: (block: number) => number): Map<number, BlockWidths> {
  const blocks = [...new Set(parts.map(({ block }) => block))];
  return new Map(
    blocks.map((block) => {
      const own = parts.filter((candidate) => candidate.block === block);
      return [block, blockWidths(own, keepOf(block))];
    }),
  );
}

/** Parts of few units first, for theirs round more; what that leaves goes to the others. */
function blockWidths(parts: readonly PartCandidate[], keep: number): BlockWidths {
  let widths: BlockWidths = {};
  let left = 0; // values of the size that the parts so far did not use
  for (const { part, width, step, parametersPerUnit } of [...parts].sort((a, b) => a.width / a.step - b.width / b.step)) {
    left += keep * width * parametersPerUnit;
    const kept = Math.min(width, Math.max(step, Math.floor(left / (step * parametersPerUnit)) * step));
    left -= kept * parametersPerUnit;
    if (kept < width) widths = { ...widths, [part]: kept };
  }
  return widths;
}
