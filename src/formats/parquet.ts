/** Parquet files of text, read whole with hyparquet: uncompressed, snappy, gzip, brotli, and zstd where Node has it. */
import * as zlib from "node:zlib";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { FormatError, StorageError } from "../errors.ts";
import type { JsonObject } from "../json-object.ts";

type Decompress = (page: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;

/** From Node 22.15 on. */
const zstd = (zlib as { zstdDecompressSync?: Decompress }).zstdDecompressSync;

/** A page's header says how long it becomes; a page that becomes longer is refused. */
const bounded = (decompress: Decompress) => (page: Uint8Array, maxOutputLength: number) => decompress(page, { maxOutputLength });
const COMPRESSORS = {
  GZIP: bounded(zlib.gunzipSync),
  BROTLI: bounded(zlib.brotliDecompressSync),
  ...(zstd ? { ZSTD: bounded(zstd) } : {}),
};

/**
 * The rows of a file; of them the column `wanted` alone where there is one of this name.
 * @throws StorageError when the file cannot be opened, FormatError when it is not Parquet or compressed otherwise.
 */
export async function readParquet(path: string, wanted: string): Promise<JsonObject[]> {
  const file = await asyncBufferFromFile(path).catch((cause) => {
    throw new StorageError(`${path}: cannot be read (${cause.code}); give the path of a Parquet file`, { cause });
  });
  try {
    const metadata = await parquetMetadataAsync(file);
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    const columns = names.includes(wanted) ? { columns: [wanted] } : {};
    return await parquetReadObjects({ file, metadata, compressors: COMPRESSORS, ...columns });
  } catch (cause) {
    const { message } = cause as Error;
    throw new FormatError(
      path,
      `expected a Parquet file that can be read, its parser says: ${message}; write it with snappy or gzip`,
    );
  }
}
