/** Where a run is, on stderr: one updating line on a terminal, else a plain line now and then. */
import type { Progress } from "../pipeline/job.ts";
import { formatBytes, formatSeconds } from "../report/units.ts";

/** Milliseconds between redraws on a terminal, and between plain lines elsewhere. */
const REDRAW = 100;
const PLAIN = 5000;
const CLEAR = "\r\u001b[K";

export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface Memory {
  readonly now: number;
  readonly peak: number;
}

interface Clock {
  /** Milliseconds. */
  now(): number;
  memory(): Memory;
}

/** The whole process, the worker and the engine's tensors included. */
const systemClock: Clock = {
  now: () => performance.now(),
  memory: () => ({ now: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 }),
};

export class ProgressDisplay {
  /** When each stage was first seen, and how much of it was done then: stages may take turns, block by block. */
  private readonly started = new Map<string, { readonly at: number; readonly done: number }>();
  private lastLine = Number.NEGATIVE_INFINITY;
  private isDrawn = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly isQuiet: boolean,
    private readonly clock: Clock = systemClock,
  ) {}

  progress(progress: Progress): void {
    if (this.isQuiet) return;
    const now = this.clock.now();
    const start = this.started.get(progress.stage);
    if (!start) this.started.set(progress.stage, { at: now, done: progress.done });
    if (start && now - this.lastLine < (this.terminal.isTTY ? REDRAW : PLAIN)) return;
    this.lastLine = now;
    const perUnit = start && progress.done > start.done ? (now - start.at) / 1000 / (progress.done - start.done) : undefined;
    this.draw(progressLine(progress, perUnit, this.clock.memory()));
  }

  /** A line that stays. */
  note(line: string): void {
    if (this.isQuiet) return;
    this.clear();
    this.terminal.write(`${line}\n`);
  }

  /** Takes the updating line away; what is written next starts at the left. */
  clear(): void {
    if (this.isDrawn) this.terminal.write(CLEAR);
    this.isDrawn = false;
  }

  private draw(line: string): void {
    if (!this.terminal.isTTY) this.terminal.write(`${line}\n`);
    else this.terminal.write(`${CLEAR}${line.slice(0, (this.terminal.columns ?? 80) - 1)}`);
    this.isDrawn = this.terminal.isTTY === true;
  }
}

/** `factorize  block 3/30  4 min 12 s left  memory 1.02 GiB, peak 1.31 GiB`. */
export function progressLine(
  { stage, done, total, unit, detail }: Progress,
  secondsPerUnit: number | undefined,
  memory: Memory,
): string {
  const left = secondsPerUnit === undefined ? [] : [`${formatSeconds(secondsPerUnit * (total - done))} left`];
  const used = `memory ${formatBytes(memory.now)}, peak ${formatBytes(memory.peak)}`;
  return [stage, `${unit} ${done}/${total}`, ...(detail ? [detail] : []), ...left, used].join("  ");
}
