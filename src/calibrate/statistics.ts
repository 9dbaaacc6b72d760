/** What is summed at each site of a block while calibration text runs through it. */
import { NumericsError } from "../errors.ts";
import type { InputStatistics } from "../methods/method.ts";
import { hcat, scope, type Tensor, TokenSums } from "../tensor/index.ts";

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

  /**
   * @param widths values of each wanted site's input.
   * @param paired whether the dense model's inputs of the same tokens are summed beside the others.
   */
  constructor(
    widths: ReadonlyMap<string, number>,
    private readonly paired = false,
  ) {
    for (const [site, width] of widths) this.sums.set(site, new TokenSums(paired ? 2 * width : width));
  }

  /** Triangle and moments of every site, as they are stored. The caller's scope owns the tensors. */
  stored(): Map<string, { triangle: Tensor; moments: Tensor }> {
    return new Map([...this.sums].map(([site, sums]) => [site, { triangle: sums.triangle(), moments: sums.moments() }]));
  }

  /** @param dense of the same shape, where inputs are paired. */
  add(site: string, input: Tensor, dense?: Tensor): void {
    scope(() => this.sums.get(site)?.add(dense ? hcat(dense, input) : input));
  }

  statistics(site: string, where: string): InputStatistics {
    const sums = this.sums.get(site) as TokenSums;
    const gram = sums.takeGram();
    if (!gram.isFinite()) throw new NumericsError(`${where}, ${site}: the activations have NaN or infinite values`);
    const all = scope(() => inputStatistics(gram, sums.moments(), sums.tokens));
    return this.paired ? scope(() => unpaired(all)) : all;
  }

  dispose(): void {
    for (const sums of this.sums.values()) sums.dispose();
  }
}

/** What was summed of [d; x], the dense model's input d above the other's x: the statistics of x, and d's beside them. */
function unpaired({ tokens, gram: both, mean, meanAbs, maxAbs, batchMeans }: InputStatistics): InputStatistics {
  const n = mean.length / 2;
  const dense = { gram: quarter(both, 0, 0), cross: quarter(both, 0, n) };
  const own = { mean: mean.slice(n), meanAbs: meanAbs.slice(n), maxAbs: maxAbs.slice(n) };
  const batches = batchMeans?.columnRange(n, 2 * n).contiguous();
  const gram = quarter(both, n, n);
  both.dispose();
  return { tokens, gram, ...own, batchMeans: batches, dense };
}

function quarter(both: Tensor, row: number, column: number): Tensor {
  const n = both.rows / 2;
  return scope(() =>
    both
      .rowRange(row, row + n)
      .columnRange(column, column + n)
      .contiguous(),
  );
}

/** @param moments as `TokenSums.moments` gives them; older folders hold no batches. The caller's scope owns the tensors. */
export function inputStatistics(gram: Tensor, moments: Tensor, tokens: number): InputStatistics {
  const [values, n] = [moments.toFloat64Array(), moments.columns];
  const row = (i: number) => values.slice(i * n, (i + 1) * n);
  const mean = (i: number) => row(i).map((value) => value / tokens);
  const batchMeans = moments.rows > MOMENTS ? moments.rowRange(MOMENTS, moments.rows).contiguous() : undefined;
  return { tokens, gram, mean: mean(0), meanAbs: mean(1), maxAbs: row(2), batchMeans };
}

/** Rows of `TokenSums.moments` before those of the batches. */
export const MOMENTS = 3;
