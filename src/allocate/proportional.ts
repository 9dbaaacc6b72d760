/** Splitting a total in proportion to weights, with a limit for each part. */

export interface Part {
  /** Positive. */
  readonly weight: number;
  /** No more than this is given. */
  readonly most: number;
}

/** What each part gets: what the limits cut off goes to the others. Less than the total only where all are at their limits. */
export function proportional(parts: readonly Part[], total: number): number[] {
  const full = new Set<number>();
  for (;;) {
    const left = total - parts.reduce((sum, { most }, i) => sum + (full.has(i) ? most : 0), 0);
    const weights = parts.reduce((sum, { weight }, i) => sum + (full.has(i) ? 0 : weight), 0);
    const shares = parts.map(({ weight, most }, i) => (full.has(i) ? most : (left * weight) / weights));
    const over = shares.flatMap((share, i) => (!full.has(i) && share >= (parts[i] as Part).most ? [i] : []));
    if (over.length === 0) return shares;
    for (const i of over) full.add(i);
  }
}
