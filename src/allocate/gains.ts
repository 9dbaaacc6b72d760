/** What an allocation does, kind by kind: how many modules become what, what that saves, and what it is predicted to cost. */
import type { Allocation, Candidates, Curve } from "./allocator.ts";
import type { Gain } from "./gain.ts";
import { groupedBy, kindOf } from "./kind.ts";
import { scaledDivergence } from "./scaled-divergence.ts";
import { projectionParameters } from "./size.ts";

/** One module that is replaced. */
type Replaced = Omit<Gain, "modules">;

/** Kinds in the order of their first module, factors before narrower parts. */
export function gainsOf({ projections, parts }: Candidates, { ranks, widths }: Allocation): Gain[] {
  const factored = projections.flatMap((candidate): Replaced[] => {
    const rank = ranks.get(candidate.name);
    if (rank === undefined) return [];
    const parametersSaved = projectionParameters(candidate, undefined) - projectionParameters(candidate, rank);
    return [{ kind: kindOf(candidate), becomes: "factors", parametersSaved, divergence: divergenceAt(candidate, rank) }];
  });
  const narrower = parts.flatMap((candidate): Replaced[] => {
    const width = widths.get(candidate.block)?.[candidate.part];
    if (width === undefined) return [];
    const parametersSaved = (candidate.width - width) * candidate.parametersPerUnit;
    return [{ kind: candidate.part, becomes: "narrower", parametersSaved, divergence: divergenceAt(candidate, width) }];
  });
  return [...groupedBy([...factored, ...narrower], ({ kind }) => kind).values()].map(added);
}

function divergenceAt(curve: Partial<Curve>, size: number): number | null {
  return curve.measured && curve.measured.length > 0 ? scaledDivergence(curve)(size) : null;
}

/** Of one kind. */
function added(all: readonly Replaced[]): Gain {
  const { kind, becomes } = all[0] as Replaced;
  const sum = (values: readonly (number | null)[]) => values.reduce((a, b) => (a === null || b === null ? null : a + b), 0);
  const parametersSaved = all.reduce((total, each) => total + each.parametersSaved, 0);
  return { kind, becomes, modules: all.length, parametersSaved, divergence: sum(all.map(({ divergence }) => divergence)) };
}
