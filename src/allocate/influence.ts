/**
 * Blocks that change the residual stream least give up most: MoDeGPT's allocation, a softmax of block influence, which is
 * the least sum of influence times sparsity with an entropy term that keeps blocks from losing everything.
 * Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu 2024, arXiv:2408.09632; block influence: Men et al. 2024, arXiv:2403.03853.
 *
 *   s_l    1 - mean cosine of block l's input and output
 *   phi_l  sparsity of block l: the parameters to give up, spread by softmax(-s / epsilon), at most MOST of any block
 */
import type { Allocator } from "./allocator.ts";
import { byFraction } from "./fraction.ts";
import { blockSizes } from "./last-blocks.ts";
import { proportional } from "./proportional.ts";

/** How evenly blocks share; the paper's runs have .1 to .15. */
const EPSILON = 0.1;
/** No block gives up more. */
const MOST = 0.8;

export const influence: Allocator = {
  name: "influence",
  title: "softmax of block influence (MoDeGPT)",
  needs: "influences",
  parts: "instead",
  allocate(candidates, target) {
    const sizes = blockSizes(candidates.projections);
    const shares = [...sizes.keys()].map((block) => Math.exp(-(candidates.influences?.[block] ?? 0) / EPSILON));
    const sparsities = spread([...sizes.values()], shares, 1 - target.keep);
    const keeps = new Map([...sizes.keys()].map((block, i) => [block, 1 - (sparsities[i] as number)]));
    return byFraction(candidates, target, (block) => keeps.get(block) as number);
  },
};

/**
 * Sparsities in proportion to the shares, none above MOST, that give up the fraction of all sizes: what blocks at the limit
 * cannot give goes to the others.
 */
export function spread(sizes: readonly number[], shares: readonly number[], fraction: number): number[] {
  if (fraction >= MOST) return sizes.map(() => fraction);
  const parts = sizes.map((size, i) => ({ weight: size * (shares[i] as number), most: MOST * size }));
  const given = proportional(
    parts,
    sizes.reduce((sum, size) => sum + fraction * size, 0),
  );
  return given.map((removed, i) => removed / (sizes[i] as number));
}
