/** The files beside a `.onnx` that hold its large values: `NAME.onnx_data`, `NAME.onnx_data_1`, ... */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Tensor, writeTensor } from "../tensor/index.ts";
import type { ExternalBytes } from "./onnx.ts";
import { storage } from "./storage.ts";

/** Browsers hold a file in one buffer, and those end at 2 GiB. */
const DEFAULT_CHUNK_BYTES = 1.9e9;
/** A page: what a memory map can start at. */
const ALIGNMENT = 4096;

/** Appends values, one at a time, starting a new file where the next would make one too long. */
export class ExternalData {
  private readonly folder: string;
  private readonly baseName: string;
  private readonly chunkBytes: number;
  private filled = 0;
  private count = 0;

  /** @param baseName the `.onnx` file's name. */
  constructor(folder: string, baseName: string, chunkBytes = DEFAULT_CHUNK_BYTES) {
    this.folder = folder;
    this.baseName = baseName;
    this.chunkBytes = chunkBytes;
  }

  /** Their names, in order. */
  get files(): string[] {
    return Array.from({ length: this.count }, (_, index) => this.file(index));
  }

  append(values: Tensor | Uint8Array): ExternalBytes {
    const length = values instanceof Uint8Array ? values.length : values.bytes;
    const start = Math.ceil(this.filled / ALIGNMENT) * ALIGNMENT;
    const fits = this.count > 0 && start + length <= this.chunkBytes;
    const place = { file: fits ? this.file(this.count - 1) : this.nextFile(), offset: fits ? start : 0, length };
    const path = join(this.folder, place.file);
    if (values instanceof Uint8Array) storage(path, () => writeAt(path, values, place.offset));
    else writeTensor(values, path, place.offset);
    this.filled = place.offset + length;
    return place;
  }

  private file(index: number): string {
    return `${this.baseName}_data${index === 0 ? "" : `_${index}`}`;
  }

  private nextFile(): string {
    const name = this.file(this.count++);
    storage(join(this.folder, name), () => writeFileSync(join(this.folder, name), ""));
    return name;
  }
}

function writeAt(path: string, values: Uint8Array, offset: number): void {
  const file = openSync(path, "r+");
  try {
    for (let done = 0; done < values.length; ) done += writeSync(file, values, done, values.length - done, offset + done);
  } finally {
    closeSync(file);
  }
}
