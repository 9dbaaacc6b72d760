/** The contract of everything that holds a model's weights: a folder of safetensors, a GGUF file. */
import { NumericsError } from "../errors.ts";
import type { StoredFormat, Tensor } from "../tensor/index.ts";

export interface TensorInfo {
  readonly shape: readonly number[];
  readonly format: StoredFormat;
  /** Bytes in the file. */
  readonly bytes: number;
}

/** Weights by the names of the Hugging Face checkpoints, read one at a time. */
export interface Checkpoint {
  /** Every tensor, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The tensor as f32.
   * @throws FormatError when there is no such tensor, NumericsError when a value is not finite.
   */
  read(name: string): Tensor;
  close(): void;
}

/** The tensor itself. @throws NumericsError when it holds NaN or infinity. */
export function finite(source: string, name: string, tensor: Tensor): Tensor {
  if (tensor.isFinite()) return tensor;
  throw new NumericsError(
    `${source}: tensor ${name}: expected finite weights, got NaN or infinity; fetch or convert the model again`,
  );
}
