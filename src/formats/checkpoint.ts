/** The contract of everything that holds a model's weights: a folder of safetensors, a GGUF file. */
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
