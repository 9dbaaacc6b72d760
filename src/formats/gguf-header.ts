/**
 * The header of a GGUF file: metadata, and where each tensor lies. @huggingface/gguf parses it. It pads what it reads with
 * zeros and would go on parsing past the end of a cut file, so counts are checked before, and all places after.
 */
import { statSync } from "node:fs";
import { GGMLQuantizationType, type GGUFParseOutput, gguf } from "@huggingface/gguf";
import { FormatError, RankfoldError, UnsupportedError } from "../errors.ts";
import type { StoredFormat } from "../tensor/index.ts";
import { readBytes, storage } from "./storage.ts";

/** Magic, version and two counts. */
const PREFIX_BYTES = 24;
/** The least that a tensor takes in the header: name length, dimensions, one of them, type, offset. */
const MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8;
/** The least that a metadata entry takes: key length, type, one byte. */
const MIN_ENTRY_BYTES = 8 + 4 + 1;
/** ggml has four; each is kept below 2^32, which is what the engine counts with. */
const MAX_DIMENSIONS = 4;
const MAX_DIMENSION = 2 ** 32 - 1;
const MAX_ALIGNMENT = 2 ** 16;

/** Values and bytes of one block, for every type that is read. */
const BLOCKS: Readonly<Record<string, { readonly format: StoredFormat; readonly values: number; readonly bytes: number }>> = {
  F32: { format: "f32", values: 1, bytes: 4 },
  F16: { format: "f16", values: 1, bytes: 2 },
  BF16: { format: "bf16", values: 1, bytes: 2 },
  Q4_0: { format: "Q4_0", values: 32, bytes: 18 },
  Q4_1: { format: "Q4_1", values: 32, bytes: 20 },
  Q5_0: { format: "Q5_0", values: 32, bytes: 22 },
  Q5_1: { format: "Q5_1", values: 32, bytes: 24 },
  Q8_0: { format: "Q8_0", values: 32, bytes: 34 },
  Q4_K: { format: "Q4_K", values: 256, bytes: 144 },
  Q5_K: { format: "Q5_K", values: 256, bytes: 176 },
  Q6_K: { format: "Q6_K", values: 256, bytes: 210 },
};

export interface GgufTensor {
  readonly shape: readonly number[];
  readonly format: StoredFormat;
  /** Of the first byte, counted from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** Values as the file holds them: numbers, bigints, strings, booleans and arrays of these. */
export type GgufMetadata = Readonly<Record<string, unknown>>;

export interface GgufHeader {
  readonly metadata: GgufMetadata;
  /** By the names of the file; shapes rows first, as everywhere else (GGUF writes them last). */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** @throws FormatError when the header contradicts the file, UnsupportedError for a tensor type that is not read. */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  const fileBytes = storage(path, () => statSync(path).size);
  checkPrefix(path, fileBytes);
  const parsed = await parse(path);
  if (parsed.tensorInfoByteRange[1] > fileBytes)
    throw new FormatError(path, `expected a header within ${fileBytes} bytes, it is cut off; fetch the file again`);
  const metadata = parsed.metadata as unknown as GgufMetadata;
  checkAlignment(path, metadata);
  const tensors = new Map<string, GgufTensor>();
  for (const info of parsed.tensorInfos) {
    if (tensors.has(info.name))
      throw new FormatError(path, `expected each tensor once, got ${info.name} twice; the file is damaged`);
    tensors.set(info.name, locate(path, info, Number(parsed.tensorDataOffset), fileBytes));
  }
  checkOverlap(path, tensors);
  return { metadata, tensors };
}

function checkPrefix(path: string, fileBytes: number): void {
  if (fileBytes < PREFIX_BYTES) throw new FormatError(path, `expected a GGUF file, got ${fileBytes} bytes; fetch it again`);
  const prefix = readBytes(path, 0, PREFIX_BYTES);
  if (prefix.toString("latin1", 0, 4) !== "GGUF")
    throw new FormatError(path, "expected a GGUF file, got one that does not start with GGUF");
  const version = prefix.readUInt32LE(4);
  if (version !== 2 && version !== 3)
    throw new UnsupportedError(`${path}: expected GGUF version 2 or 3, little-endian, got ${version}; convert the model again`);
  const needed = Number(prefix.readBigUInt64LE(8)) * MIN_TENSOR_BYTES + Number(prefix.readBigUInt64LE(16)) * MIN_ENTRY_BYTES;
  if (needed > fileBytes)
    throw new FormatError(
      path,
      `expected counts of tensors and entries that fit ${fileBytes} bytes, got ones that take ${needed}; the file is cut off or damaged`,
    );
}

async function parse(path: string): Promise<GGUFParseOutput> {
  try {
    return await gguf(path, { allowLocalFile: true });
  } catch (cause) {
    if (cause instanceof RankfoldError) throw cause;
    throw new FormatError(
      path,
      `expected a whole GGUF header, its parser says: ${cause instanceof Error ? cause.message : cause}; fetch the file again`,
    );
  }
}

function checkAlignment(path: string, metadata: GgufMetadata): void {
  const alignment = Number(metadata["general.alignment"] ?? 1);
  const isPower = Number.isInteger(Math.log2(alignment));
  if (!isPower || alignment > MAX_ALIGNMENT)
    throw new FormatError(path, `expected general.alignment, a power of two up to ${MAX_ALIGNMENT}, got ${alignment}`);
}

function locate(path: string, info: GGUFParseOutput["tensorInfos"][number], dataStart: number, fileBytes: number): GgufTensor {
  const where = `${path}: tensor ${info.name}`;
  const shape = info.shape.map(Number).reverse();
  const fits = shape.length >= 1 && shape.length <= MAX_DIMENSIONS && shape.every((n) => n >= 1 && n <= MAX_DIMENSION);
  if (!fits)
    throw new FormatError(
      where,
      `expected 1 to ${MAX_DIMENSIONS} dimensions between 1 and 2^32, got [${shape}]; the file is damaged`,
    );
  const { format, values, bytes } = blockOf(where, info.dtype);
  const length = (shape.reduce((a, b) => a * b, 1) / values) * bytes;
  if ((shape.at(-1) ?? 0) % values !== 0)
    throw new FormatError(where, `expected rows of whole blocks of ${values}, got [${shape}] of ${format}`);
  const end = dataStart + Number(info.offset) + length;
  if (end > fileBytes)
    throw new FormatError(
      where,
      `expected values within ${fileBytes} bytes, they end at ${end}; the file is cut off, fetch it again`,
    );
  return { shape, format, offset: dataStart + Number(info.offset), length };
}

function blockOf(where: string, type: number): (typeof BLOCKS)[string] {
  const name = GGMLQuantizationType[type] ?? `type ${type}`;
  const block = Object.hasOwn(BLOCKS, name) ? BLOCKS[name] : undefined;
  if (block) return block;
  throw new UnsupportedError(
    `${where}: expected one of ${Object.keys(BLOCKS).join(", ")}, got ${name}; take a GGUF file of one of these types`,
  );
}

function checkOverlap(path: string, tensors: ReadonlyMap<string, GgufTensor>): void {
  let end = 0;
  for (const [name, { offset, length }] of [...tensors].sort(([, a], [, b]) => a.offset - b.offset)) {
    if (offset < end)
      throw new FormatError(
        path,
        `tensor ${name}: expected values of its own, they overlap those of another; the file is damaged`,
      );
    end = offset + length;
  }
}
