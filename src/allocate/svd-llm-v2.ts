/**
 * SVD-LLM V2: within each type of projection, those that lose more are truncated less. Wang, Alam, Wan, Shen, Zhang 2025,
 * arXiv:2503.12340; its other half, the two SVDs, is the same layer as svd-llm (methods.md section 0).
 *
 *   R    fraction of the parameters removed in all
 *   G    the projections of one type: all q, all k, ...
 *   L    ||(W - W') X||_F of a projection truncated uniformly, at R
 *   l    1 / ln L
 *   R_i  |G| R l_i / sum of l over G
 */
import type { Allocator, ProjectionCandidate, Target } from "./allocator.ts";
import { groupedBy, kindOf } from "./kind.ts";
import { proportional } from "./proportional.ts";
import { rankForKeep } from "./size.ts";

/** No projection loses more than this fraction. */
const MOST_REMOVED = 0.9;

export const svdLlmV2: Allocator = {
  name: "svd-llm-v2",
  title: "SVD-LLM V2: by the logarithm of the loss, within each type",
  needs: "losses",
  parts: "never",
  allocate({ projections }, target) {
    const ranks = [...groupedBy(projections, kindOf).values()].flatMap((G) => ranksWithin(G, target));
    return { ranks: new Map(ranks), widths: new Map() };
  },
};

function ranksWithin(G: readonly ProjectionCandidate[], { keep, rankMultiple }: Target): [string, number][] {
  const sizes = G.map(({ rows, columns }) => rows * columns);
  const parts = G.map((candidate, i) => {
    const size = sizes[i] as number;
    return { weight: size * inverseLogLoss(candidate, keep, rankMultiple), most: MOST_REMOVED * size };
  });
  const removed = proportional(parts, (1 - keep) * sizes.reduce((a, b) => a + b, 0));
  return G.flatMap((candidate, i): [string, number][] => {
    const rank = rankForKeep(candidate, 1 - (removed[i] as number) / (sizes[i] as number), rankMultiple);
    return rank === undefined ? [] : [[candidate.name, rank]];
  });
}

/** l. A loss below e, where the formula turns over, counts as e. */
function inverseLogLoss(candidate: ProjectionCandidate, keep: number, rankMultiple: number): number {
  const rank = rankForKeep(candidate, keep, rankMultiple) ?? 0;
  const L = Math.sqrt(candidate.losses?.[rank] ?? 0);
  return 1 / Math.log(Math.max(L, Math.E));
}
