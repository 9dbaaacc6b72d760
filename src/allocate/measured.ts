/** What allocators by knapsack share: groups of options, solved under the size, read back as an allocation. */

import type { BlockWidths } from "../models/model.ts";
import type { Allocation, Candidates, ProjectionCandidate, Target } from "./allocator.ts";
import { combined, knapsack, type Option } from "./knapsack.ts";
import { type Choice, denseOption, type ErrorOf, rankOptions, widthOptions } from "./options.ts";
import { projectionParameters } from "./size.ts";

/** The allocation with the least sum of errors. */
export function leastError({ projections, parts, factored }: Candidates, target: Target, errorOf: ErrorOf): Allocation {
  const { keep, rankMultiple } = target;
  const inParts = new Set(parts.flatMap((candidate) => candidate.projections));
  const ranks = (candidate: ProjectionCandidate) =>
    factored ? rankOptions(candidate, rankMultiple, errorOf) : [denseOption(candidate)];
  const alone = projections.filter(({ name }) => !inParts.has(name));
  const groups = alone.map((candidate) => ranks(candidate).map(listed));
  for (const candidate of parts) {
    const own = projections.filter(({ name }) => candidate.projections.includes(name));
    groups.push([...combined(own.map(ranks)), ...widthOptions(candidate, errorOf).map(listed)]);
  }
  const total = projections.reduce((sum, candidate) => sum + projectionParameters(candidate, undefined), 0);
  return allocationOf(knapsack(groups, keep * total).flat());
}

function listed(option: Option<Choice>): Option<Choice[]> {
  return { ...option, choice: [option.choice] };
}

function allocationOf(choices: readonly Choice[]): Allocation {
  const ranks = choices.flatMap((c) => (c.kind === "rank" ? [[c.name, c.rank] as const] : []));
  const widths = new Map<number, BlockWidths>();
  for (const c of choices) if (c.kind === "width") widths.set(c.block, { ...widths.get(c.block), [c.part]: c.width });
  return { ranks: new Map(ranks), widths };
}
