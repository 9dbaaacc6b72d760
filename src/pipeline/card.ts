/** The measured figures in a compressed model's README.md. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { storage } from "../formats/storage.ts";
import type { Model } from "../models/load.ts";
import { withMeasured } from "../report/model-card.ts";
import { VERSION } from "../version.ts";
import { readManifest } from "./manifest.ts";
import type { EvaluateResult } from "./results.ts";

/** @throws UsageError unless the model is a folder that rankfold wrote here. */
export function checkCard({ path, source }: Model): void {
  if (path !== source || readManifest(path) === undefined)
    throw new UsageError(`--card: expected a folder that rankfold compress wrote, got ${source}; leave --card out`);
}

/** Returns the file that it wrote. */
export function writeMeasured({ path }: Model, { texts, tasks }: EvaluateResult): string {
  const file = join(path, "README.md");
  storage(file, () => {
    const card = existsSync(file) ? readFileSync(file, "utf8") : "";
    writeFileSync(file, withMeasured(card, { texts, tasks, version: VERSION }));
  });
  return file;
}
