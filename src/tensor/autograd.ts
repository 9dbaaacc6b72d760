/**
 * Reverse-mode differentiation: within `record` every operation notes how a gradient flows back through it, and keeps what
 * that reads. An operation that has no derivative is refused there, so that no part of a gradient is ever silently missing.
 */
import { NumericsError, UnsupportedError } from "../errors.ts";
import { type Derivative, type Recorder, scope, type Tensor, watchedBy } from "./tensor.ts";

interface Step extends Required<Pick<Derivative, "inputs" | "backward">> {
  readonly output: Tensor;
}

/** One computation, from some sources to one output. It holds what going back needs, until it goes back or is disposed of. */
export class Recording implements Recorder {
  private readonly sources: ReadonlySet<Tensor>;
  /** The sources and all that was made from them. */
  private readonly traced: Set<Tensor>;
  private readonly steps: Step[] = [];
  private readonly read = new Set<Tensor>();
  /** Tensors of inner scopes that going back reads. */
  private readonly adopted: Tensor[] = [];

  constructor(sources: Iterable<Tensor>) {
    this.sources = new Set(sources);
    this.traced = new Set(this.sources);
  }

  note(operation: string, output: Tensor, derivative: Derivative | undefined): void {
    if (derivative && !derivative.inputs.some((input) => this.traced.has(input))) return;
    if (!derivative?.backward)
      throw new UnsupportedError(`${operation}: has no derivative here; compute it outside of what is recorded, or give it one`);
    this.traced.add(output);
    this.steps.push({ inputs: derivative.inputs, backward: derivative.backward, output });
    for (const tensor of derivative.reads ?? derivative.inputs) this.read.add(tensor);
  }

  adopt(tensor: Tensor): boolean {
    const isRead = this.read.has(tensor);
    if (isRead) this.adopted.push(tensor);
    return isRead;
  }

  /**
   * The gradient of every source from that of the output; the recording is used up.
   * @throws NumericsError when no gradient reaches a source.
   */
  gradients(output: Tensor, gradient: Tensor): Map<Tensor, Tensor> {
    return scope(() => {
      const sums = new Map([[output, share(gradient)]]);
      for (let step = this.steps.pop(); step; step = this.steps.pop()) this.goBack(step, sums);
      this.dispose();
      for (const source of this.sources)
        if (!sums.has(source)) throw new NumericsError("a parameter got no gradient: it has no part in the output");
      return sums;
    });
  }

  /** Each gradient in `sums` has a handle of its own, so that it can be freed as soon as it was passed on. */
  private goBack({ output, inputs, backward }: Step, sums: Map<Tensor, Tensor>): void {
    const gradient = sums.get(output);
    if (!gradient) return;
    sums.delete(output);
    backward(gradient).forEach((piece, i) => {
      const input = inputs[i] as Tensor;
      const isTraced = this.traced.has(input);
      const found = typeof piece === "function" ? isTraced && piece() : piece;
      if (found && isTraced) addTo(sums, input, found === gradient ? share(found) : found);
      else if (found && found !== gradient) found.dispose();
    });
    gradient.dispose();
  }

  dispose(): void {
    for (const tensor of this.adopted) tensor.dispose();
    this.steps.length = 0;
  }
}

function addTo(sums: Map<Tensor, Tensor>, input: Tensor, piece: Tensor): void {
  const before = sums.get(input);
  sums.set(input, before ? before.add(piece) : piece);
  if (!before) return;
  before.dispose();
  piece.dispose();
}

/** The same values under another handle. */
const share = (tensor: Tensor) => tensor.reshape(...tensor.shape);

/** Runs `work` and notes how its result depends on the sources, which must outlive the recording. */
export function record(sources: Iterable<Tensor>, work: () => Tensor): { output: Tensor; recording: Recording } {
  const recording = new Recording(sources);
  try {
    return { output: watchedBy(recording, () => scope(work)), recording };
  } catch (error) {
    recording.dispose();
    throw error;
  }
}
