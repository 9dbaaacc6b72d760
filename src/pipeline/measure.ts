/** Time and memory of the running process. */

/** Seconds since the call. */
export function stopwatch(): () => number {
  const start = performance.now();
  return () => (performance.now() - start) / 1000;
}

/** Seconds spent in each of several kinds of work; work inside other work counts as its own kind alone. */
export class StageClock<Name extends string> {
  private readonly spent = new Map<Name, number>();
  /** Seconds of the work that ended inside the work now running. */
  private inner = 0;

  /** Runs `work` and adds its time to `name`. */
  time<T>(name: Name, work: () => T): T {
    const clock = stopwatch();
    const before = this.inner;
    this.inner = 0;
    try {
      return work();
    } finally {
      const seconds = clock();
      this.spent.set(name, this.seconds(name) + seconds - this.inner);
      this.inner = before + seconds;
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
