/** AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) for one parameter, its moments in native memory. */
import { ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";
import { describe, type Tensor, wrap, wrapAll } from "./tensor.ts";

export interface AdamWOptions {
  readonly learningRate: number;
  /** Decay a step of the mean of gradients, and of their squares. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

export class AdamW {
  private readonly state: InstanceType<typeof native.AdamW>;
  /** Values of the parameter. */
  readonly size: number;

  constructor(size: number) {
    this.size = size;
    this.state = call("AdamW", () => new native.AdamW(size));
  }

  /** The parameter after step number `step` (from 1) along its gradient; both f32. */
  step(parameter: Tensor, gradient: Tensor, step: number, options: AdamWOptions): Tensor {
    if (String(parameter.shape) !== String(gradient.shape) || parameter.size !== this.size)
      throw new ShapeError("AdamW.step", `${describe(parameter)} of ${this.size} values`, describe(gradient));
    return wrap("AdamW.step", () => this.state.step(parameter.handle, gradient.handle, { ...options, step }));
  }

  /** Copies of the mean and of the mean square, `size` values each. */
  moments(): [Tensor, Tensor] {
    return wrapAll("AdamW.moments", () => this.state.moments()) as [Tensor, Tensor];
  }

  /** Goes on from moments that were saved. */
  restore([mean, square]: readonly [Tensor, Tensor]): void {
    call("AdamW.restore", () => this.state.restore(mean.handle, square.handle));
  }
}
