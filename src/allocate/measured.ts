/** What allocators by knapsack share: groups of options, solved under the size, read back as an allocation. */
import type { Allocation, Candidates, ProjectionCandidate, Target } from "./allocator.ts";
import { combined, knapsack, type Option } from "./knapsack.ts";
import { type Choice, type ErrorOf, rankOptions, widthOptions } from "./options.ts";
import { projectionParameters } from "./size.ts";

/** The allocation with the least sum of errors. */
export function leastError({ projections, channels }: Candidates, { keep, rankMultiple }: Target, errorOf: ErrorOf): Allocation {
  const inMlp = new Set(channels.flatMap((candidate) => candidate.projections));
  const ranks = (candidate: ProjectionCandidate) => rankOptions(candidate, rankMultiple, errorOf);
  const alone = projections.filter(({ name }) => !inMlp.has(name));
  const groups = alone.map((candidate) => ranks(candidate).map(listed));
  for (const candidate of channels) {
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
  const widths = choices.flatMap((c) => (c.kind === "width" ? [[c.block, c.width] as const] : []));
  return { ranks: new Map(ranks), widths: new Map(widths) };
}
