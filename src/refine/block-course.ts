/**
 * Block by block: each block of the compressed model is trained to give the dense block's output from the inputs that the
 * compressed blocks before it make (AA-SVD's refinement, arXiv:2604.02119). The error of a token counts relative to the size of
 * its output, since the few tokens with massive activations would otherwise decide alone. Or, in closed form, each block's last
 * matrices are solved for (closed-form.ts).
 */
import { advanceBatches, type Batch, batchWindows, disposeBatches, embedWindows } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, forwardBlock } from "../models/model.ts";
import { readBlock } from "../models/weights.ts";
import { shuffled } from "../random.ts";
import { dispose, keep, record, scope, type Tensor } from "../tensor/index.ts";
import { solveBlock } from "./closed-form.ts";
import { type Course, type CourseOptions, type CourseWatcher, startPosition } from "./course.ts";
import { divergenceOver } from "./divergence.ts";
import { relativeRate } from "./schedule.ts";
import { mapTensors, movable, type Snapshot, snapshotOf } from "./student.ts";
import type { Teacher } from "./teacher.ts";
import type { Step, Training } from "./training.ts";

/** The same windows on their way through both models, batch by batch. */
interface Streams {
  readonly dense: readonly Batch[];
  readonly compressed: readonly Batch[];
}

export class BlockCourse implements Course {
  readonly position = startPosition();
  best: Snapshot;
  private readonly dense: Model;
  private readonly teacher: Teacher;

  constructor(
    private readonly level: "closed-form" | "block",
    private readonly training: Training,
    { dense, teacher }: { dense: Model; teacher: Teacher },
    private readonly options: CourseOptions,
  ) {
    this.dense = dense;
    this.teacher = teacher;
    this.best = snapshotOf(training.student, options.dtype);
  }

  run(watcher: CourseWatcher): void {
    const { windows, heldBack, seed } = this.options;
    const seen = shuffled(
      [...windows.keys()].filter((i) => !heldBack.includes(i)),
      seed,
    );
    this.teacher.prepare(heldBack, watcher.checkpoint);
    if (this.position.measured < 0) this.measureStart(watcher);
    const [train, test] = [this.streamsOf(seen), this.streamsOf(heldBack)];
    try {
      for (let block = 0; block < this.dense.config.blocks; block++) this.passBlock(block, train, test, watcher);
    } finally {
      for (const { dense, compressed } of [train, test]) disposeBatches([...dense, ...compressed]);
    }
    this.measureEnd(watcher);
  }

  private streamsOf(indices: readonly number[]): Streams {
    const { model, embedding } = this.training.student;
    const chosen = indices.map((i) => this.options.windows[i] as Uint32Array);
    return { dense: embedWindows(this.dense, chosen), compressed: batchWindows(model, embedding, chosen) };
  }

  /** Moves all windows behind a block, having improved it unless an earlier run did. */
  private passBlock(block: number, train: Streams, test: Streams, watcher: CourseWatcher): void {
    const { dense, training, position } = this;
    const between = { between: watcher.checkpoint };
    const improve = block < position.blocks ? () => {} : (how: () => void) => this.improve(block, test, how, watcher);
    scope(() => {
      const weights = readBlock(dense.checkpoint, dense.architecture, dense.config, block);
      const move = (batches: readonly Batch[]) => advanceBatches(dense, batches, weights, block, between);
      move(test.dense);
      if (this.level === "closed-form") improve(() => this.solve(block, weights, train, watcher));
      move(train.dense);
      if (this.level === "block") improve(() => this.walk(block, train, watcher));
    });
    scope(() => {
      const weights = this.written(block);
      for (const { compressed } of [train, test]) advanceBatches(training.student.model, compressed, weights, block, between);
    });
  }

  private solve(block: number, weights: BlockWeights, { dense, compressed }: Streams, { checkpoint }: CourseWatcher): void {
    const { model, blocks } = this.training.student;
    const student = { model, weights: blocks[block] as BlockWeights, batches: compressed };
    solveBlock(block, { model: this.dense, weights, batches: dense }, student, checkpoint);
    this.position.step++;
  }

  /** A block as it will be written. The caller's scope owns the weights. */
  private written(block: number): BlockWeights {
    const { dtype } = this.options;
    return mapTensors(this.training.student.blocks[block] as BlockWeights, (tensor) => tensor.to(dtype).to("f32"));
  }

  /** Keeps what `how` makes of a block where it is better on windows held back. */
  private improve(block: number, test: Streams, how: () => void, watcher: CourseWatcher): void {
    const { training, position } = this;
    const { student } = training;
    const start = copyOf(student.blocks[block] as BlockWeights);
    const reset = () => {
      const { linears, vectors } = student.blocks[block] as BlockWeights;
      dispose([linears, vectors]);
      student.blocks[block] = start;
    };
    const before = this.errorOver(block, test);
    const stepsBefore = position.step;
    try {
      how();
    } catch (error) {
      reset();
      position.step = stepsBefore;
      throw error;
    } finally {
      training.rules.clear();
    }
    if (this.errorOver(block, test) < before) dispose([start.linears, start.vectors]);
    else reset();
    position.blocks = block + 1;
    watcher.onWhole(position);
  }

  /** The steps on one block. */
  private walk(block: number, streams: Streams, watcher: CourseWatcher): void {
    const { position, options } = this;
    const clock = this.clockOf(block);
    for (let step = 0; clock.progress(step) < 1; step++) {
      watcher.checkpoint();
      const learningRate = options.learningRate * relativeRate(step, clock.progress(step));
      const error = this.step(block, streams, { step, learningRate });
      position.step++;
      position.seconds = clock.seconds();
      watcher.onStep(position, error);
    }
  }

  /** A block's share of what is left of the time; of the steps, each block gets all. */
  private clockOf(block: number) {
    const { seconds: most, steps } = this.options;
    const before = this.position.seconds;
    const started = performance.now();
    const own = () => (performance.now() - started) / 1000;
    const share = Math.max(most - before, 0) / (this.dense.config.blocks - block);
    return {
      seconds: () => before + own(),
      progress: (step: number) => Math.min(steps === undefined ? own() / share : step / steps, 1),
    };
  }

  /** One step, number `step` from 0, on one batch; gives its error before it. */
  private step(block: number, { dense, compressed }: Streams, { step, learningRate }: Step): number {
    const { training } = this;
    const { model, blocks } = training.student;
    const at = step % dense.length;
    const { run, stream } = compressed[at] as Batch;
    return scope(() => {
      const x = stream.read();
      const weights = blocks[block] as BlockWeights;
      const { output, recording } = record(movable(training.student, block), () =>
        forwardBlock(model.architecture, x, { config: model.config, weights, run }),
      );
      const { error, gradient } = relativeError(output, (dense[at] as Batch).stream.read());
      training.move(block, recording.gradients(output, gradient), { step: step + 1, learningRate });
      return error;
    });
  }

  /** Mean error of a token of the block as it will be written. */
  private errorOver(block: number, { dense, compressed }: Streams): number {
    const { model } = this.training.student;
    return scope(() => {
      const weights = this.written(block);
      const errors = compressed.map(({ stream, run }, i) =>
        scope(() => {
          const output = forwardBlock(model.architecture, stream.read(), { config: model.config, weights, run });
          return relativeError(output, (dense[i] as Batch).stream.read()).error * run.sequences;
        }),
      );
      return errors.reduce((a, b) => a + b, 0);
    });
  }

  private measure({ checkpoint }: CourseWatcher): number {
    const { windows, heldBack, dtype } = this.options;
    const written = (tensor: Tensor) => tensor.to(dtype).to("f32");
    const chosen = { windows, indices: heldBack };
    return divergenceOver(this.training.student, this.teacher, chosen, { written, between: checkpoint });
  }

  private measureStart(watcher: CourseWatcher): void {
    const start = this.measure(watcher);
    Object.assign(this.position, { start, best: start, last: start, measured: 0 });
  }

  private measureEnd(watcher: CourseWatcher): void {
    const { position } = this;
    position.last = this.measure(watcher);
    if (position.last >= position.best) return;
    Object.assign(position, { best: position.last, bestStep: position.step });
    dispose(this.best);
    this.best = snapshotOf(this.training.student, this.options.dtype);
    watcher.onMeasured(position);
  }
}

/** Handles of its own to the weights, which are freed when they move. */
function copyOf(weights: BlockWeights): BlockWeights {
  return mapTensors(weights, (tensor) => keep(tensor.reshape(...tensor.shape)));
}

/** The mean over tokens of |y' - y|^2 / |y|^2, and its gradient at y'. Both t x d. */
function relativeError(output: Tensor, target: Tensor): { error: number; gradient: Tensor } {
  return scope(() => {
    const difference = output.sub(target);
    const weights = target
      .mul(target)
      .rowSums()
      .power(-1)
      .scale(1 / target.rows); // t x 1
    const gradient = difference.mul(weights).scale(2);
    const error = difference
      .mul(difference)
      .mul(weights)
      .rowSums()
      .toFloat64Array()
      .reduce((a, b) => a + b, 0);
    return { error, gradient };
  });
}
