/** The tokenizer of a model folder. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FormatError } from "../errors.ts";
import { readJson, readOptionalJson } from "../formats/json.ts";
import { storage } from "../formats/storage.ts";
import type { JsonObject } from "../json-object.ts";
import { endIds, Tokenizer } from "./tokenizer.ts";

/** @throws FormatError when the folder has no tokenizer.json, or one that is damaged. */
export function readTokenizer(folder: string): Tokenizer {
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) {
    throw new FormatError(
      path,
      "expected this file, found none; make it with transformers: AutoTokenizer.from_pretrained(model).save_pretrained(folder)",
    );
  }
  const config = readOptionalJson(join(folder, "tokenizer_config.json")) ?? {};
  const ends = ["generation_config.json", "config.json"].flatMap((file) => endIds(readOptionalJson(join(folder, file))));
  return Tokenizer.fromJson(readJson(path), { ...config, ...templateFile(folder) }, ends, path);
}

/** A file of its own goes before the template in tokenizer_config.json. */
function templateFile(folder: string): JsonObject {
  const path = join(folder, "chat_template.jinja");
  return existsSync(path) ? { chat_template: storage(path, () => readFileSync(path, "utf8")) } : {};
}
