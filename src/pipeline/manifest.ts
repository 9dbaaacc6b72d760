/** rankfold.json: how a compressed model was made. Written beside the weights; loading the model does not need it. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { CompressResult } from "./results.ts";

export const MANIFEST = "rankfold.json";

export interface Manifest extends Omit<CompressResult, "out"> {
  /** Version of rankfold that made it. */
  readonly version: string;
  readonly node: string;
  readonly created: string;
  readonly model: string;
  readonly options: Record<string, unknown>;
  /** SHA-256 of the calibration text; null for data-free methods. */
  readonly calibrationSha256: string | null;
}

/** The manifest of a compressed folder; undefined for any other model. */
export function readManifest(path: string): Manifest | undefined {
  const file = join(path, MANIFEST);
  if (!statSync(path).isDirectory() || !existsSync(file)) return undefined;
  return JSON.parse(readFileSync(file, "utf8"));
}
