/** JSON Lines: one JSON object a line, blank lines skipped. */
import { readFileSync } from "node:fs";
import { FormatError, StorageError } from "../errors.ts";
import { isObject, type JsonObject } from "../json-object.ts";

export interface JsonLine {
  /** From 1. */
  readonly line: number;
  readonly fields: JsonObject;
}

/** @throws StorageError when the file cannot be read, FormatError naming the line that is no JSON object. */
export function readJsonLines(file: string, limit = Number.POSITIVE_INFINITY): JsonLine[] {
  const rows: JsonLine[] = [];
  for (const [i, text] of readTextFile(file).split("\n").entries()) {
    if (rows.length >= limit) break;
    if (text.trim() !== "") rows.push({ line: i + 1, fields: parseLine(file, i + 1, text) });
  }
  return rows;
}

function parseLine(file: string, line: number, text: string): JsonObject {
  try {
    const fields: unknown = JSON.parse(text);
    if (isObject(fields)) return fields;
  } catch {
    throw new FormatError(file, `line ${line} is not JSON; give one JSON object a line`);
  }
  throw new FormatError(file, `line ${line}: expected a JSON object, got another value; give one JSON object a line`);
}

/** A UTF-8 file whole. @throws StorageError */
export function readTextFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new StorageError(`${file}: cannot be read (${code}); give the path of a text file`, { cause });
  }
}
