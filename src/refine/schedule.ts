/** Learning rates over a training: linear up, then half a cosine down (Loshchilov and Hutter 2017, arXiv:1608.03983). */

/** Steps over which the learning rate rises to its highest. */
const WARMUP = 10;
/** The learning rate at the end, relative to the highest. */
const LAST_RATE = 0.05;

/** Relative to the highest rate. @param step those before it @param progress share of the training that is over */
export function relativeRate(step: number, progress: number): number {
  const up = Math.min((step + 1) / WARMUP, 1);
  return up * (LAST_RATE + ((1 - LAST_RATE) * (1 + Math.cos(Math.PI * progress))) / 2);
}
