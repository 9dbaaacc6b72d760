/** The dense model's last hidden states, which its logits follow from: computed once a window, when first asked for. */
import { disposeBatches, forwardWindows, type Head, readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { dispose, keep, rmsNorm, scope, type Tensor, vcat } from "../tensor/index.ts";

export class Teacher {
  private readonly model: Model;
  private readonly windows: readonly Uint32Array[];
  private readonly head: Head;
  /** Normed states of each window, l x d. */
  private readonly states = new Map<number, Tensor>();

  constructor(model: Model, windows: readonly Uint32Array[]) {
    this.model = model;
    this.windows = windows;
    this.head = keep(scope(() => readHead(model)));
  }

  /** Computes the states of windows that have none yet: all at once, since a block's weights are read once for all. */
  prepare(indices: readonly number[], between: (block: number) => void = () => {}): void {
    const missing = indices.filter((index) => !this.states.has(index));
    if (missing.length === 0) return;
    const batches = forwardWindows(
      this.model,
      missing.map((index) => this.windows[index] as Uint32Array),
      between,
    );
    const rest = [...missing];
    scope(() => {
      for (const { stream, run } of batches) {
        const h = rmsNorm(stream.read(), this.head.norm, this.model.config.normEps);
        const length = h.rows / run.sequences;
        for (let s = 0; s < run.sequences; s++)
          this.states.set(rest.shift() as number, keep(h.rowRange(s * length, (s + 1) * length).contiguous()));
      }
    });
    disposeBatches(batches);
  }

  has(index: number): boolean {
    return this.states.has(index);
  }

  /** The states of several prepared windows, one below the other. */
  statesOf(indices: readonly number[]): Tensor {
    return vcat(...indices.map((index) => this.states.get(index) as Tensor));
  }

  /** Logits of rows of states. */
  logits(states: Tensor): Tensor {
    return states.matmulTransposed(this.head.table);
  }

  dispose(): void {
    dispose([this.states, this.head.norm, this.head.table]);
  }
}
