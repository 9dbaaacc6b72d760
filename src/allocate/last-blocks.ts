/**
 * Only the last K of N blocks, each of their projections at one module keep: errors made early grow on their way through
 * the model. LLM-ROM's schedule; Chavan, Lele, Gupta 2023, arXiv:2312.07046, table 1.
 */
import { UsageError } from "../errors.ts";
import type { Allocation, Allocator, ProjectionCandidate, Target } from "./allocator.ts";
import { byFraction } from "./fraction.ts";
import { projectionParameters } from "./size.ts";

/** What the rule spends its size on: the last `blocks` blocks, `blockKeep` of the parameters of each of their projections. */
export interface Schedule {
  readonly blocks: number;
  readonly blockKeep: number;
}

export const lastBlocks: Allocator = {
  name: "last-blocks",
  title: "LLM-ROM's schedule: the last blocks alone, all at one keep",
  needs: "shapes",
  parts: "instead",
  allocate(candidates, target): Allocation {
    const sizes = blockSizes(candidates.projections);
    const { blocks, blockKeep } = scheduleFor([...sizes.values()], target);
    const last = new Set([...sizes.keys()].slice(-blocks));
    const own = <T extends { readonly block: number }>(all: readonly T[]) => all.filter(({ block }) => last.has(block));
    const { projections, parts } = candidates;
    return byFraction({ ...candidates, projections: own(projections), parts: own(parts) }, target, () => blockKeep);
  },
};

/** Parameters of each block that may be compressed, in order. */
export function blockSizes(projections: readonly Pick<ProjectionCandidate, "block" | "rows" | "columns">[]): Map<number, number> {
  const blocks = [...new Set(projections.map(({ block }) => block))].sort((a, b) => a - b);
  const own = (index: number) => projections.filter(({ block }) => block === index);
  return new Map(blocks.map((index) => [index, sum(own(index).map((shape) => projectionParameters(shape, undefined)))]));
}

/**
 * Both numbers, those not given worked out from `keep`: 1 - (K / N) (1 - blockKeep) = keep for blocks of one size.
 * @param sizes parameters of each block.
 * @throws UsageError when there are fewer blocks than asked for, or when `keep` cannot be had from so few.
 */
export function scheduleFor(sizes: readonly number[], { keep, blocks, blockKeep }: Target): Schedule {
  const last = blocks ?? paperBlocks(sizes, keep);
  if (last > sizes.length) throw new UsageError(`--blocks ${last}: expected at most the ${sizes.length} blocks to compress`);
  const share = lastShare(sizes, last);
  const rest = blockKeep ?? hundredths(1 - (1 - keep) / share);
  if (rest > 0) return { blocks: last, blockKeep: rest };
  throw new UsageError(
    `--blocks ${last}: the last ${last} of ${sizes.length} blocks hold ${share.toFixed(2)} of the parameters, ` +
      `--keep ${keep} would take ${(1 - keep).toFixed(2)}; compress more blocks, or keep more`,
  );
}

/** The fraction of all parameters that a schedule keeps. */
export function keepOf({ blocks, blockKeep }: Schedule, sizes: readonly number[]): number {
  return 1 - lastShare(sizes, blocks) * (1 - blockKeep);
}

/** What the last K blocks hold of all parameters. */
const lastShare = (sizes: readonly number[], blocks: number) => sum(sizes.slice(-blocks)) / sum(sizes);

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/**
 * The paper's settings for 32 blocks are 8, 12 and 24 at keep .9, .8 and .5: K / N = 11/8 - 5/4 keep goes through all three,
 * and is 1 from keep .3 down. More where those hold too little to take what has to go.
 */
function paperBlocks(sizes: readonly number[], keep: number): number {
  const blocks = Math.round(sizes.length * (11 / 8 - (5 / 4) * keep));
  const enough = sizes.findIndex((_, i) => i + 1 >= blocks && lastShare(sizes, i + 1) > 1 - keep);
  return enough < 0 ? sizes.length : enough + 1;
}

/** Rounded down to hundredths as the paper's are (.60, .46, .33), unless that leaves nothing; 1e-9 for what f64 makes of .6. */
const hundredths = (value: number) => Math.floor(value * 100 + 1e-9) / 100 || value;
