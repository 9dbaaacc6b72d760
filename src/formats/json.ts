/** JSON files beside a model: config.json, tokenizer.json, the index of a sharded checkpoint. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { isObject, type JsonObject } from "../json-object.ts";
import { storage } from "./storage.ts";

/** A tokenizer of 250 000 tokens takes 20 MB; a larger file is not one of ours and would fill the memory. */
const MAX_JSON_BYTES = 200_000_000;

/** The object in a file. @throws FormatError when it is absent, too large or not a JSON object. */
export function readJson(path: string): JsonObject {
  if (!existsSync(path))
    throw new FormatError(path, "expected this file, found none; give the folder of a complete Hugging Face model");
  const bytes = storage(path, () => statSync(path).size);
  if (bytes > MAX_JSON_BYTES) throw new FormatError(path, `expected at most ${MAX_JSON_BYTES} bytes of JSON, got ${bytes}`);
  return parseJson(
    path,
    storage(path, () => readFileSync(path, "utf8")),
  );
}

/** The same, or undefined when there is no such file. */
export function readOptionalJson(path: string): JsonObject | undefined {
  return existsSync(path) ? readJson(path) : undefined;
}

/** @throws FormatError naming `path` when the text is not one JSON object. */
export function parseJson(path: string, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(
      path,
      `expected JSON, got text that does not parse (${(cause as Error).message}); fetch the file again`,
    );
  }
  if (!isObject(value)) throw new FormatError(path, "expected a JSON object, got another value; fetch the file again");
  return value;
}
