/** Time and memory of the running process. */

/** Seconds since the call. */
export function stopwatch(): () => number {
  const start = performance.now();
  return () => (performance.now() - start) / 1000;
}

/** Seconds spent in each of several kinds of work. */
export class StageClock<Name extends string> {
  private readonly spent = new Map<Name, number>();

  /** Runs `work` and adds its time to `name`. */
  time<T>(name: Name, work: () => T): T {
    const clock = stopwatch();
    try {
      return work();
    } finally {
      this.spent.set(name, this.seconds(name) + clock());
    }
  }

  seconds(name: Name): number {
    return this.spent.get(name) ?? 0;
  }
}

/** Highest resident memory of this process so far. */
export function peakRssBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
