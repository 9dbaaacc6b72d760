/** How a long computation speaks to whoever started it: it tells where it is, and asks whether to go on. */

export interface Progress {
  /** What is being done: "calibrate", "factorize", "write", "evaluate wikitext.txt". */
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** What is counted, singular: "block", "window", "token". */
  readonly unit: string;
  /** What else changes on the way: a loss. */
  readonly detail?: string;
}

export interface Job {
  progress(progress: Progress): void;
  /** A line the user should see once: a plan, a damping, a warning. */
  note(line: string): void;
  /** Text as it is generated. */
  text(piece: string): void;
  /** Throws InterruptedError once the user has asked to stop; called between steps of a second or less. */
  checkpoint(): void;
}

/** A job that nobody watches. */
export const silentJob: Job = { progress() {}, note() {}, text() {}, checkpoint() {} };
