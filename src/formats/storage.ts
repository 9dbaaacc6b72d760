/** Turns the failures of the file system into errors that say which file and what to do. */
import { closeSync, openSync, readSync } from "node:fs";
import { FormatError, StorageError } from "../errors.ts";

/** Runs one file operation. @throws StorageError naming the file. */
export function storage<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new StorageError(
      `${path}: the file could not be read or written (${text}); check that it exists, its permissions and the disk`,
      {
        cause,
      },
    );
  }
}

/** `length` bytes at `offset`. @throws FormatError when the file ends before. */
export function readBytes(path: string, offset: number, length: number): Buffer {
  return (
    storage(path, () => {
      const file = openSync(path, "r");
      try {
        const bytes = Buffer.alloc(length);
        const got = readSync(file, bytes, 0, length, offset);
        return got === length ? bytes : undefined;
      } finally {
        closeSync(file);
      }
    }) ?? endsEarly(path, offset + length)
  );
}

function endsEarly(path: string, expected: number): never {
  throw new FormatError(path, `expected at least ${expected} bytes, the file ends before; fetch it again`);
}
