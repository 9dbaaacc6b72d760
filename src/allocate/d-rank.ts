/**
 * D-Rank: more rank where the information is spread over more directions, and some of q's and k's for v.
 * Mi, Sun, Zhang, Huang 2025, arXiv:2509.25622; groups of one projection.
 *
 *   sigma  singular values of the whitened W S: their squares are the losses of the directions
 *   R      exp(entropy of sigma / sum sigma), the effective rank
 *   w      values stored for one rank, m + n
 *   T      values stored in all
 *   k      T sqrt(R / w) / sum of sqrt(R w): the least sum of R / k under the size
 *   beta   share of what q and k store that v gets instead; in values, not ranks, for grouped queries make v smaller
 */
import type { Allocator, ProjectionCandidate } from "./allocator.ts";
import { groupedBy, kindOf } from "./kind.ts";
import { proportional } from "./proportional.ts";
import { rankForKeep } from "./size.ts";

/** The paper's is .3 to .4. */
const BETA = 0.3;

/** A projection and the values it may store. */
interface Share {
  readonly candidate: ProjectionCandidate;
  readonly stored: number;
}

export const dRank: Allocator = {
  name: "d-rank",
  title: "D-Rank: by effective rank, some of q and k for v",
  needs: "losses",
  parts: "never",
  allocate({ projections }, { keep, rankMultiple }) {
    const T = keep * projections.reduce((sum, candidate) => sum + sizeOf(candidate), 0);
    const parts = projections.map((candidate) => {
      const w = candidate.rows + candidate.columns;
      return { weight: Math.sqrt(effectiveRank(candidate) * w), most: sizeOf(candidate) };
    });
    const shares = proportional(parts, T).map((stored, i) => ({ candidate: projections[i] as ProjectionCandidate, stored }));
    const balanced = [...groupedBy(shares, ({ candidate }) => candidate.block).values()].flatMap(rebalanced);
    const ranks = balanced.map(({ candidate, stored }) => {
      return [candidate.name, rankForKeep(candidate, stored / sizeOf(candidate), rankMultiple)] as const;
    });
    return { ranks: new Map(ranks.flatMap(([name, rank]) => (rank === undefined ? [] : [[name, rank]]))), widths: new Map() };
  },
};

const sizeOf = ({ rows, columns }: ProjectionCandidate) => rows * columns;

/** R, at least 1. */
function effectiveRank({ losses = new Float64Array() }: ProjectionCandidate): number {
  const sigma = losses.subarray(0, -1).map((loss, i) => Math.sqrt(Math.max(loss - (losses[i + 1] as number), 0)));
  const total = sigma.reduce((a, b) => a + b, 0);
  const entropy = sigma.reduce((sum, value) => sum - (value > 0 ? (value / total) * Math.log(value / total) : 0), 0);
  return Math.exp(entropy);
}

/** One block with beta of what its q and k store given to v, as far as v is not whole before. */
function rebalanced(block: readonly Share[]): Share[] {
  const of = (...kinds: string[]) => block.filter(({ candidate }) => kinds.includes(kindOf(candidate)));
  const [v] = of("v_proj");
  const given = of("q_proj", "k_proj").reduce((sum, { stored }) => sum + stored, 0);
  if (!v || given === 0) return [...block];
  const moved = Math.min(BETA * given, sizeOf(v.candidate) - v.stored);
  return block.map((share) => {
    if (share === v) return { ...share, stored: share.stored + moved };
    return of("q_proj", "k_proj").includes(share) ? { ...share, stored: share.stored * (1 - moved / given) } : share;
  });
}
