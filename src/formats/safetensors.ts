/**
 * safetensors files: 8 bytes with the length of the header, a JSON header, then the values of all tensors without gaps.
 * A header is not trusted: every length is checked against the file before anything is allocated or read.
 */
import { statSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { isObject, type JsonObject } from "../json-object.ts";
import { MappedFile, type StoredFormat, type Tensor } from "../tensor/index.ts";
import { parseJson } from "./json.ts";
import { readBytes, storage } from "./storage.ts";

/** The format's own limit; a larger header would be parsed into many times its size of memory. */
const MAX_HEADER_BYTES = 100_000_000;
/** No weight has more; each dimension is also kept below 2^32, which is what the engine counts with. */
const MAX_DIMENSIONS = 8;
const MAX_DIMENSION = 2 ** 32 - 1;
/** The names that other programs look for. */
export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";
/** The header's length stands in the first bytes. */
export const LENGTH_BYTES = 8;

/** Bytes of one value, for every dtype of the format that has whole bytes. */
const DTYPE_BYTES: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, F8_E8M0: 1, I16: 2, U16: 2, F16: 2, BF16: 2 },
  ...{ I32: 4, U32: 4, F32: 4, I64: 8, U64: 8, F64: 8, C64: 8 },
};

/** The dtypes that can be read as weights. */
const READABLE: Readonly<Record<string, StoredFormat>> = { F32: "f32", F64: "f64", F16: "f16", BF16: "bf16" };

export interface SafetensorsEntry {
  /** As the header writes it: F32, BF16, I64. */
  readonly dtype: string;
  /** Undefined for a dtype that weights do not have. */
  readonly format: StoredFormat | undefined;
  readonly shape: readonly number[];
  /** Of the first byte, counted from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** One file, mapped when the first tensor is read. */
export class SafetensorsFile {
  readonly path: string;
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  private mapped: MappedFile | undefined;

  /** @throws FormatError when the header contradicts the file. */
  constructor(path: string) {
    const { entries, metadata } = readHeader(path);
    this.path = path;
    this.entries = entries;
    this.metadata = metadata;
  }

  /** The tensor in the dtype that the file holds. */
  read(name: string): Tensor {
    const entry = this.entries.get(name);
    if (!entry) throw new FormatError(this.path, `expected a tensor ${name}, found none; the model is incomplete`);
    const { dtype, format, shape, offset, length } = entry;
    if (!format)
      throw new FormatError(
        this.path,
        `tensor ${name}: expected ${Object.keys(READABLE).join(", ")}, got ${dtype}; convert the model to one of these`,
      );
    this.mapped ??= new MappedFile(this.path);
    return this.mapped.read({ offset, length, format, shape });
  }

  close(): void {
    this.mapped?.close();
    this.mapped = undefined;
  }
}

/** The header of a file, checked. */
export function readHeader(path: string): SafetensorsHeader {
  const fileBytes = storage(path, () => statSync(path).size);
  const headerBytes = readHeaderLength(path, fileBytes);
  const text = decodeHeader(path, readBytes(path, LENGTH_BYTES, headerBytes));
  const json = parseJson(path, text);
  refuseRepeatedKeys(path, text, json);
  const dataStart = LENGTH_BYTES + headerBytes;
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, value] of Object.entries(json)) {
    if (name !== "__metadata__") entries.set(name, parseEntry(`${path}: tensor ${name}`, value, dataStart));
  }
  checkContiguous(path, entries, dataStart, fileBytes);
  return { entries, metadata: parseMetadata(path, json.__metadata__) };
}

function readHeaderLength(path: string, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES)
    throw new FormatError(path, `expected a safetensors file, got ${fileBytes} bytes; fetch it again`);
  const declared = readBytes(path, 0, LENGTH_BYTES).readBigUInt64LE();
  const most = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES);
  if (declared > BigInt(most))
    throw new FormatError(
      path,
      `expected a header of at most ${most} bytes, got ${declared}; the file is cut off or no safetensors`,
    );
  return Number(declared);
}

function decodeHeader(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FormatError(path, "expected a header in UTF-8, got other bytes; the file is damaged or no safetensors");
  }
}

/** JSON.parse keeps the last of equal keys in silence: compare the keys of the text with those that were kept. */
function refuseRepeatedKeys(path: string, text: string, json: JsonObject): void {
  if (keysWritten(text) === keysKept(json)) return;
  throw new FormatError(path, "expected each key of the header once, got one twice; the file is damaged");
}

/** Strings before a colon, in text that is valid JSON. */
function keysWritten(text: string): number {
  let keys = 0;
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at + 1)) {
    for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
    while (/\s/.test(text[at + 1] ?? "")) at++;
    if (text[at + 1] === ":") keys++;
  }
  return keys;
}

/** Without recursion: a hostile header nests deeper than the stack. */
function keysKept(json: JsonObject): number {
  let keys = 0;
  const open: unknown[] = [json];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    const items = Object.values(value);
    if (!Array.isArray(value)) keys += items.length;
    for (const item of items) open.push(item);
  }
  return keys;
}

function parseMetadata(path: string, value: unknown): Record<string, string> {
  if (value === undefined) return {};
  const strings = isObject(value) && Object.values(value).every((item) => typeof item === "string");
  if (!strings) throw new FormatError(path, "expected __metadata__ to map names to strings; the file is damaged");
  return value as Record<string, string>;
}

function parseEntry(where: string, value: unknown, dataStart: number): SafetensorsEntry {
  if (!isObject(value)) throw new FormatError(where, "expected an object with dtype, shape and data_offsets");
  const { dtype, shape, data_offsets: offsets } = value;
  const width = typeof dtype === "string" && Object.hasOwn(DTYPE_BYTES, dtype) ? DTYPE_BYTES[dtype] : undefined;
  if (width === undefined)
    throw new FormatError(where, `expected a dtype of ${Object.keys(DTYPE_BYTES).join(", ")}, got ${brief(dtype)}`);
  const [begin, end] = parseOffsets(where, offsets);
  const dims = parseShape(where, shape);
  const bytes = dims.reduce((product, n) => product * n, width);
  if (bytes !== end - begin)
    throw new FormatError(where, `expected ${bytes} bytes for ${dtype} of shape [${dims}], got ${end - begin}`);
  return {
    dtype: dtype as string,
    format: READABLE[dtype as string],
    shape: dims,
    offset: dataStart + begin,
    length: end - begin,
  };
}

function parseShape(where: string, shape: unknown): readonly number[] {
  const fits = Array.isArray(shape) && shape.length <= MAX_DIMENSIONS && shape.every((n) => isLength(n) && n <= MAX_DIMENSION);
  if (!fits)
    throw new FormatError(where, `expected a shape of at most ${MAX_DIMENSIONS} whole numbers below 2^32, got ${brief(shape)}`);
  return shape;
}

function parseOffsets(where: string, offsets: unknown): readonly [number, number] {
  const [begin, end, ...more]: unknown[] = Array.isArray(offsets) ? offsets : [];
  if (isLength(begin) && isLength(end) && begin <= end && more.length === 0) return [begin, end];
  throw new FormatError(where, `expected data_offsets [begin, end] in order, got ${brief(offsets)}`);
}

function isLength(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** For messages. A hostile value may be too long to show, and nested too deeply for JSON.stringify. */
function brief(value: unknown): string {
  const plain = Array.isArray(value) ? value.every((item) => typeof item !== "object") : typeof value !== "object";
  return plain ? String(JSON.stringify(value)).slice(0, 100) : "another value";
}

/** The format allows neither gaps nor overlaps: sorted tensors fill the file from the header to its end. */
function checkContiguous(
  path: string,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  dataStart: number,
  fileBytes: number,
): void {
  const sorted = [...entries].sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length);
  let end = dataStart;
  for (const [name, { offset, length }] of sorted) {
    if (offset !== end) {
      throw new FormatError(
        path,
        `tensor ${name}: expected its values at byte ${end - dataStart}, got ${offset - dataStart}: a gap or an overlap`,
      );
    }
    end += length;
  }
  if (end !== fileBytes)
    throw new FormatError(
      path,
      `expected ${end} bytes by its header, got ${fileBytes}; the file is cut off or damaged, fetch it again`,
    );
}
