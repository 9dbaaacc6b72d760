/** What is summed at each site of a block while calibration text runs through it. */
import { NumericsError } from "../errors.ts";
import type { InputStatistics } from "../methods/method.ts";
import { scope, type Tensor, TokenSums } from "../tensor/index.ts";

/** The statistics of one block's sites, whether they were just summed or come from files. */
export interface SiteStatistics {
  /**
   * To be asked for once a site: the sums are handed over.
   * @param where for messages: the block.
   * @throws NumericsError when the sums are not finite. The caller's scope owns the tensors.
   */
  statistics(site: string, where: string): InputStatistics;
}

/** The sums of one block, by site; only the sites asked for. */
export class SiteSums implements SiteStatistics {
  private readonly sums = new Map<string, TokenSums>();

  /** @param widths values of each wanted site's input. */
  constructor(widths: ReadonlyMap<string, number>) {
    for (const [site, width] of widths) this.sums.set(site, new TokenSums(width));
  }

  /** Triangle and moments of every site, as they are stored. The caller's scope owns the tensors. */
  stored(): Map<string, { triangle: Tensor; moments: Tensor }> {
    return new Map([...this.sums].map(([site, sums]) => [site, { triangle: sums.triangle(), moments: sums.moments() }]));
  }

  add(site: string, input: Tensor): void {
    this.sums.get(site)?.add(input);
  }

  statistics(site: string, where: string): InputStatistics {
    const sums = this.sums.get(site) as TokenSums;
    const gram = sums.takeGram();
    if (!gram.isFinite()) throw new NumericsError(`${where}, ${site}: the activations have NaN or infinite values`);
    return inputStatistics(
      gram,
      scope(() => sums.moments().toFloat64Array()),
      sums.tokens,
    );
  }

  dispose(): void {
    for (const sums of this.sums.values()) sums.dispose();
  }
}

/** @param moments 3 x n: the sums of x, the sums of |x|, the largest |x|. */
export function inputStatistics(gram: Tensor, moments: Float64Array, tokens: number): InputStatistics {
  const width = moments.length / 3;
  const row = (i: number) => moments.slice(i * width, (i + 1) * width);
  const mean = (i: number) => row(i).map((value) => value / tokens);
  return { tokens, gram, mean: mean(0), meanAbs: mean(1), maxAbs: row(2) };
}
