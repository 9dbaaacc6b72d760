/** Tensors in files: read from a memory map and written in place. Offsets and lengths are bytes. */
import { call, native } from "./native.ts";
import { type Tensor, wrap } from "./tensor.ts";

/** How values are stored: plain dtypes, and the GGML block types that are dequantised to f32 when read. */
export type StoredFormat = "f32" | "f64" | "f16" | "bf16" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "Q4_K" | "Q5_K" | "Q6_K";

export interface StoredTensor {
  readonly offset: number;
  readonly length: number;
  readonly format: StoredFormat;
  readonly shape: readonly number[];
}

export class MappedFile {
  private readonly file: InstanceType<typeof native.MappedFile>;

  /** @throws StorageError when the file cannot be opened. */
  constructor(readonly path: string) {
    this.file = call("open", () => new native.MappedFile(path));
  }

  /** @throws EngineError when the tensor lies outside the file. */
  read({ offset, length, format, shape }: StoredTensor): Tensor {
    return wrap(this.path, () => this.file.read(offset, length, format, [...shape]));
  }

  close(): void {
    this.file.close();
  }
}

/** Writes the tensor's values in its own dtype at `offset` of a file that exists. @throws StorageError on a full disk. */
export function writeTensor(tensor: Tensor, path: string, offset: number): void {
  call(`write ${path}`, () => native.writeTensor(tensor.handle, path, offset));
}
