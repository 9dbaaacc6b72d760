/**
 * STRS, ASVD's sensitivity-based truncation rank searching: the truncations that cost least alone are applied together,
 * as many as the size asks for. Yuan, Shang, Song, Wu, Yan, Sun 2023, arXiv:2312.05821.
 *
 *   ratio        fraction of a projection's parameters kept, .1 .2 ... .9 (the paper's begin at .4, which no keep below reaches)
 *   sensitivity  of the model to one projection at one ratio; here the divergence, which falls and rises with the paper's
 *                perplexity, measured at two ratios and scaled along the loss curve to the others
 *   cut          of all (projection, ratio) by falling sensitivity: those from the cut on are applied, each projection at the
 *                smallest ratio that is; found by binary search
 */
import type { Allocator, ProjectionCandidate, Target } from "./allocator.ts";
import { scaledDivergence } from "./scaled-divergence.ts";
import { projectionParameters, rankForKeep } from "./size.ts";

const RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/** One projection at one ratio. */
interface Truncation {
  readonly candidate: ProjectionCandidate;
  readonly rank: number;
  readonly sensitivity: number;
}

export const strs: Allocator = {
  name: "strs",
  title: "ASVD's search: the least sensitive truncations first",
  needs: "divergences",
  parts: "never",
  tries: { ranks: [0.5, 0.8], widths: [] },
  allocate({ projections }, target) {
    const truncations = projections.flatMap((candidate) => truncationsOf(candidate, target));
    truncations.sort((a, b) => b.sensitivity - a.sensitivity || b.rank - a.rank);
    const size = target.keep * projections.reduce((sum, candidate) => sum + projectionParameters(candidate, undefined), 0);
    const ranks = applied(truncations, cutWithin(projections, truncations, size));
    return { ranks, widths: new Map() };
  },
};

function truncationsOf(candidate: ProjectionCandidate, { rankMultiple }: Target): Truncation[] {
  const sensitivity = scaledDivergence(candidate);
  const ranks = RATIOS.map((ratio) => rankForKeep(candidate, ratio, rankMultiple));
  return ranks.flatMap((rank) => (rank === undefined ? [] : [{ candidate, rank, sensitivity: sensitivity(rank) }]));
}

/** The last cut that keeps no more than `size`; all truncations where none does. */
function cutWithin(projections: readonly ProjectionCandidate[], truncations: readonly Truncation[], size: number): number {
  const kept = (cut: number) => {
    const ranks = applied(truncations, cut);
    return projections.reduce((sum, candidate) => sum + projectionParameters(candidate, ranks.get(candidate.name)), 0);
  };
  let [within, beyond] = [0, truncations.length + 1];
  while (beyond - within > 1) {
    const cut = Math.floor((within + beyond) / 2);
    if (kept(cut) <= size) within = cut;
    else beyond = cut;
  }
  return within;
}

/** The smallest rank of each projection from the cut on. */
function applied(truncations: readonly Truncation[], cut: number): Map<string, number> {
  const ranks = new Map<string, number>();
  for (const { candidate, rank } of truncations.slice(cut))
    ranks.set(candidate.name, Math.min(rank, ranks.get(candidate.name) ?? rank));
  return ranks;
}
