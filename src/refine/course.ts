/**
 * The course of an end-to-end training: which windows each step sees, its learning rate, when the divergence on windows that
 * are held back is measured, and when to stop. The best weights by that measure are kept, those at the start among them.
 */
import { windowsTogether } from "../models/forward.ts";
import { shuffled } from "../random.ts";
import { type DType, dispose, type Tensor } from "../tensor/index.ts";
import { divergenceOver } from "./divergence.ts";
import { relativeRate } from "./schedule.ts";
import { type Snapshot, snapshotOf } from "./student.ts";
import type { Teacher } from "./teacher.ts";
import type { Training } from "./training.ts";

/** Steps between two measurements. */
const MEASURE_EVERY = 20;
/** Measurements in a row without a gain that end the training. */
const PATIENCE = 5;
/** Windows whose dense states are computed together: each time the whole dense model is read. */
const TEACHER_WINDOWS = 32;

export interface CourseOptions {
  readonly windows: readonly Uint32Array[];
  /** Windows that are never trained on. */
  readonly heldBack: readonly number[];
  readonly learningRate: number;
  readonly seconds: number;
  /** Ends after so many steps if time does not. */
  readonly steps: number | undefined;
  readonly seed: number;
  /** Of the written model: held-back windows are measured with weights rounded to it. */
  readonly dtype: DType;
}

/** Where a training is; with the tensors of student and optimiser all that another run needs to go on. */
export interface Position {
  step: number;
  /** Spent so far. */
  seconds: number;
  /** Held-back divergence at the start, best and last, nats a token. */
  start: number;
  best: number;
  last: number;
  /** Step of the best. */
  bestStep: number;
  /** Measurements since the best. */
  stale: number;
  /** Step of the last measurement; -1 before the first. */
  measured: number;
  /** Where blocks are trained one by one: those that are done. */
  blocks: number;
}

export function startPosition(): Position {
  return { step: 0, seconds: 0, start: 0, best: 0, last: 0, bestStep: 0, stale: 0, measured: -1, blocks: 0 };
}

export interface CourseWatcher {
  /** Between parts of a step. */
  checkpoint(): void;
  /** After a step: its loss on the windows it saw. */
  onStep(position: Readonly<Position>, loss: number): void;
  /** Wherever what is there now can be saved, and gone on from. */
  onWhole(position: Readonly<Position>): void;
  /** After a measurement. */
  onMeasured(position: Readonly<Position>): void;
}

/** A training of one kind, from its start or from where an earlier run stopped. */
export interface Course {
  readonly position: Position;
  /** The best weights so far, in the written dtype. */
  readonly best: Snapshot;
  /** Trains to the end; what it throws leaves the position and the weights as they were after the last whole step. */
  run(watcher: CourseWatcher): void;
}

export class EndToEndCourse implements Course {
  readonly position = startPosition();
  /** The best so far in the written dtype. */
  best: Snapshot;
  private readonly order: readonly number[];

  constructor(
    private readonly training: Training,
    private readonly teacher: Teacher,
    private readonly options: CourseOptions,
  ) {
    const { windows, heldBack } = options;
    this.order = windows.map((_, i) => i).filter((i) => !heldBack.includes(i));
    this.best = snapshotOf(training.student, options.dtype);
  }

  run(watcher: CourseWatcher): void {
    const { position } = this;
    const before = position.seconds;
    const started = performance.now();
    const spend = () => {
      position.seconds = before + (performance.now() - started) / 1000;
    };
    this.teacher.prepare(this.options.heldBack, watcher.checkpoint);
    for (;;) {
      if (position.measured !== position.step && (position.step % MEASURE_EVERY === 0 || this.isOver())) {
        this.compare(this.measure(watcher));
        spend();
        watcher.onMeasured(position);
      }
      if (this.isOver()) return;
      const divergence = this.advance(watcher);
      spend();
      watcher.onStep(position, divergence);
      watcher.onWhole(position);
    }
  }

  /** One step. */
  private advance({ checkpoint }: CourseWatcher): number {
    const { windows, learningRate } = this.options;
    const indices = this.windowsOf(this.position.step);
    if (indices.some((index) => !this.teacher.has(index))) this.teacher.prepare(this.upcoming(), checkpoint);
    const rate = { step: this.position.step + 1, learningRate: learningRate * relativeRate(this.position.step, this.progress()) };
    const divergence = this.training.step({ windows, indices }, rate, checkpoint);
    this.position.step++;
    return divergence;
  }

  /** Share of the course that is over: of its steps where they are counted, else of its time. */
  private progress(): number {
    const { seconds, steps } = this.options;
    return Math.min(steps === undefined ? this.position.seconds / seconds : this.position.step / steps, 1);
  }

  private isOver(): boolean {
    return this.progress() >= 1 || this.position.seconds >= this.options.seconds || this.position.stale >= PATIENCE;
  }

  /** The windows of a step: every window once before any comes again, in another order each time. */
  private windowsOf(step: number): number[] {
    const count = Math.min(windowsTogether((this.options.windows[0] as Uint32Array).length), this.order.length);
    return Array.from({ length: count }, (_, i) => this.windowAt(step * count + i));
  }

  private windowAt(place: number): number {
    const round = Math.floor(place / this.order.length);
    return shuffled(this.order, this.options.seed + round)[place % this.order.length] as number;
  }

  private upcoming(): number[] {
    const indices = new Set<number>();
    for (let step = this.position.step; indices.size < Math.min(TEACHER_WINDOWS, this.order.length); step++)
      for (const index of this.windowsOf(step)) indices.add(index);
    return [...indices];
  }

  private measure({ checkpoint }: CourseWatcher): number {
    const { windows, heldBack, dtype } = this.options;
    const written = (tensor: Tensor) => tensor.to(dtype).to("f32");
    const { student } = this.training;
    return divergenceOver(student, this.teacher, { windows, indices: heldBack }, { written, between: checkpoint });
  }

  private compare(divergence: number): void {
    const { position } = this;
    const isFirst = position.measured < 0;
    Object.assign(position, { last: divergence, measured: position.step, stale: position.stale + 1 });
    if (isFirst) Object.assign(position, { start: divergence, best: divergence, stale: 0 });
    if (divergence >= position.best) return;
    Object.assign(position, { best: divergence, bestStep: position.step, stale: 0 });
    dispose(this.best);
    this.best = snapshotOf(this.training.student, this.options.dtype);
  }
}
