/**
 * Writes safetensors whose layout is known beforehand: the files get their headers and final lengths first, then tensors in
 * any order. Files carry the suffix `.partial` until `finish`, so that an unfinished model is never taken for a whole one.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { FormatError, NumericsError, ShapeError, UsageError } from "../errors.ts";
import { BYTES, describe, MappedFile, scope, type Tensor, writeTensor } from "../tensor/index.ts";
import { INDEX_FILE, LENGTH_BYTES, SINGLE_FILE } from "./safetensors.ts";
import { readBytes, storage } from "./storage.ts";

/** Many file systems and hubs refuse files of 5 GB. */
const DEFAULT_SHARD_BYTES = 4e9;
/** The header is padded so that values start at a multiple of this. */
const ALIGNMENT = 8;
const PARTIAL = ".partial";
/** Bytes that are hashed at a time. */
const HASH_CHUNK = 1 << 22;

export type WrittenDType = "f32" | "f64" | "f16" | "bf16";

export interface LayoutEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: WrittenDType;
}

/** All that decides the bytes of the files, but the values. */
export interface Layout {
  readonly tensors: readonly LayoutEntry[];
  /** Strings in the header, beside `format: pt` that other programs look for. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** A file of more bytes of values than this is split. */
  readonly shardBytes?: number;
  /** The name of the one file that holds all; else `model.safetensors`, or shards of it. */
  readonly file?: string;
}

interface Shard {
  readonly file: string;
  readonly tensors: readonly LayoutEntry[];
}

interface Place extends LayoutEntry {
  readonly file: string;
  readonly offset: number;
}

interface PlannedFile {
  readonly header: Buffer;
  readonly bytes: number;
}

export class SafetensorsWriter {
  private readonly folder: string;
  private readonly shards: readonly Shard[];
  private readonly places = new Map<string, Place>();
  private readonly missing: Set<string>;

  private constructor(folder: string, layout: Layout) {
    this.folder = folder;
    this.shards = split(layout);
    this.missing = new Set(layout.tensors.map(({ name }) => name));
    if (this.missing.size !== layout.tensors.length)
      throw new UsageError(`${folder}: expected each tensor of the layout once, got a name twice`);
  }

  /** Makes the files of the layout in an existing folder, without values. */
  static create(folder: string, layout: Layout): SafetensorsWriter {
    const writer = new SafetensorsWriter(folder, layout);
    writer.plan(layout, (path, { header, bytes }) => storage(path, () => createFile(path, header, bytes)));
    return writer;
  }

  /**
   * Takes up the files that `create` made with an equal layout; `written` names the tensors that are already there.
   * @throws FormatError when the files belong to another layout.
   */
  static open(folder: string, layout: Layout, written: Iterable<string>): SafetensorsWriter {
    const writer = new SafetensorsWriter(folder, layout);
    writer.plan(layout, checkFile);
    for (const name of written) writer.missing.delete(name);
    return writer;
  }

  private plan(layout: Layout, prepare: (path: string, planned: PlannedFile) => void): void {
    for (const { file, tensors } of this.shards) {
      const header = renderHeader(tensors, layout.metadata);
      let offset = header.length;
      for (const entry of tensors) {
        this.places.set(entry.name, { ...entry, file, offset });
        offset += bytesOf(entry);
      }
      prepare(this.pathOf(file), { header, bytes: offset });
    }
  }

  /** Where the file is now: under its final name once `finish` has got so far. */
  private pathOf(file: string): string {
    const path = join(this.folder, file);
    return existsSync(path) && !existsSync(path + PARTIAL) ? path : path + PARTIAL;
  }

  /** Converts the tensor to the dtype of the layout and writes it in its place. */
  write(name: string, tensor: Tensor): void {
    const { shape, dtype, file, offset } = this.placeOf(name);
    if (String(shape) !== String(tensor.shape)) throw new ShapeError(`write ${name}`, `[${shape.join(" x ")}]`, describe(tensor));
    scope(() => {
      const stored = tensor.to(dtype);
      if (!stored.isFinite())
        throw new NumericsError(`${name}: expected finite values in ${dtype}, got NaN or infinity; write a wider --dtype`);
      writeTensor(stored, this.pathOf(file), offset);
    });
    this.missing.delete(name);
  }

  /** A tensor that was written, as f32. */
  read(name: string): Tensor {
    const { shape, dtype, file, offset } = this.placeOf(name);
    const mapped = new MappedFile(this.pathOf(file));
    try {
      return scope(() => mapped.read({ offset, length: bytesOf({ name, shape, dtype }), format: dtype, shape }).to("f32"));
    } finally {
      mapped.close();
    }
  }

  /** SHA-256 of the tensors' bytes in the files, in the order given. */
  checksum(names: readonly string[]): string {
    const hash = createHash("sha256");
    for (const name of names) {
      const place = this.placeOf(name);
      const end = place.offset + bytesOf(place);
      for (let at = place.offset; at < end; at += HASH_CHUNK)
        hash.update(readBytes(this.pathOf(place.file), at, Math.min(HASH_CHUNK, end - at)));
    }
    return hash.digest("hex");
  }

  private placeOf(name: string): Place {
    const place = this.places.get(name);
    if (place) return place;
    throw new UsageError(`${this.folder}: expected a tensor of the layout, got ${name}`);
  }

  /** Waits until what was written is on the disk. */
  sync(): void {
    for (const { file } of this.shards) syncFile(this.pathOf(file));
  }

  /** Gives the files their final names. @throws FormatError when a tensor was never written. */
  finish(): void {
    const [first] = this.missing;
    if (first !== undefined)
      throw new FormatError(this.folder, `expected every tensor written, ${this.missing.size} are missing, the first ${first}`);
    this.sync();
    if (this.shards.length > 1) this.writeIndex();
    for (const { file } of this.shards) {
      const path = join(this.folder, file);
      if (this.pathOf(file) !== path) storage(path, () => renameSync(path + PARTIAL, path));
    }
  }

  private writeIndex(): void {
    const path = join(this.folder, INDEX_FILE);
    const total = [...this.places.values()].reduce((sum, entry) => sum + bytesOf(entry), 0);
    const weights = Object.fromEntries([...this.places.values()].map(({ name, file }) => [name, file]));
    const text = `${JSON.stringify({ metadata: { total_size: total }, weight_map: weights }, undefined, 2)}\n`;
    storage(path, () => writeFileSync(path, text));
  }
}

/** Fills files in the order of the layout; within one, wide values come first, so that every tensor is aligned. */
function split({ tensors, file, shardBytes = file ? Number.POSITIVE_INFINITY : DEFAULT_SHARD_BYTES }: Layout): readonly Shard[] {
  const groups: LayoutEntry[][] = [[]];
  let filled = 0;
  for (const entry of tensors) {
    if (filled > 0 && filled + bytesOf(entry) > shardBytes) {
      groups.push([]);
      filled = 0;
    }
    groups.at(-1)?.push(entry);
    filled += bytesOf(entry);
  }
  return groups.map((group, index) => ({
    file: file ?? shardName(index, groups.length),
    tensors: group.sort((a, b) => BYTES[b.dtype] - BYTES[a.dtype]),
  }));
}

function shardName(index: number, count: number): string {
  const digits = (n: number) => String(n).padStart(5, "0");
  return count === 1 ? SINGLE_FILE : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

function bytesOf({ shape, dtype }: LayoutEntry): number {
  return shape.reduce((product, n) => product * n, BYTES[dtype]);
}

/** The length and the JSON, padded with spaces. */
function renderHeader(tensors: readonly LayoutEntry[], metadata: Readonly<Record<string, string>> = {}): Buffer {
  const fields: [string, unknown][] = [["__metadata__", { format: "pt", ...metadata }]];
  let offset = 0;
  for (const entry of tensors) {
    const end = offset + bytesOf(entry);
    fields.push([entry.name, { dtype: entry.dtype.toUpperCase(), shape: entry.shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)));
  const padded = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  const header = Buffer.alloc(LENGTH_BYTES + padded, " ");
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, LENGTH_BYTES);
  return header;
}

function createFile(path: string, header: Buffer, bytes: number): void {
  const file = openSync(path, "w");
  try {
    writeSync(file, header);
    ftruncateSync(file, bytes);
  } finally {
    closeSync(file);
  }
}

function checkFile(path: string, { header, bytes }: PlannedFile): void {
  const same = storage(path, () => statSync(path).size) === bytes && readBytes(path, 0, header.length).equals(header);
  if (!same)
    throw new FormatError(path, "expected the file of the same run, got another layout; start afresh in an empty folder");
}

function syncFile(path: string): void {
  storage(path, () => {
    const file = openSync(path, "r+");
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}
