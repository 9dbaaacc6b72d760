/**
 * Which modules are worth measuring. A divergence costs a forward pass, and most kinds of module are not worth replacing: on
 * SmolLM2-135M no projection of an MLP was ever chosen to be factored. So every kind is measured in a few pilot blocks; in the
 * others only those that the rule itself would take the size from, were the pilots the whole model. The first and the last
 * block are unlike the others and speak for themselves alone: narrower value heads pay in SmolLM2's first block, and hardly
 * elsewhere. What nothing is known of is not offered. All follows from the pilots' measurements and the keep, so that their
 * journal gives the same again.
 */
import type { Allocator, Candidates, Target } from "./allocator.ts";
import { gainsOf } from "./gains.ts";

/** One block of so many is a pilot, and these at least. */
const ONE_IN = 6;
const FEWEST = 5;
/** What a kind has to give, of all that the pilots give, to be worth measuring elsewhere. */
const LEAST_GIVEN = 0.02;

/** The pilots among these blocks: evenly spread, with the first and the last. */
export function pilotsOf(blocks: readonly number[]): Set<number> {
  const count = Math.max(FEWEST, Math.ceil(blocks.length / ONE_IN));
  if (count >= blocks.length) return new Set(blocks);
  const spread = Array.from({ length: count }, (_, i) => Math.round((i * (blocks.length - 1)) / (count - 1)));
  return new Set(spread.map((i) => blocks[i] as number));
}

/** The kinds that the rule would take the size from, were the pilots between the first and the last the whole model. */
export function kindsUsed(rule: Allocator, candidates: Candidates, pilots: ReadonlySet<number>, target: Target): Set<string> {
  const inner = within(candidates, new Set([...pilots].slice(1, -1)));
  const gains = gainsOf(inner, rule.allocate(inner, target));
  const total = gains.reduce((sum, { parametersSaved }) => sum + parametersSaved, 0);
  return new Set(gains.filter(({ parametersSaved }) => parametersSaved >= LEAST_GIVEN * total).map(({ kind }) => kind));
}

function within(candidates: Candidates, blocks: ReadonlySet<number>): Candidates {
  const own = <T extends { readonly block: number }>(all: readonly T[]) => all.filter(({ block }) => blocks.has(block));
  return { ...candidates, projections: own(candidates.projections), parts: own(candidates.parts) };
}
