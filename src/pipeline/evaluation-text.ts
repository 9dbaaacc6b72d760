/** A text to measure perplexity on: its windows of tokens. */
import { createHash } from "node:crypto";
import { readText, windowsOf } from "../calibrate/corpus.ts";
import { UsageError } from "../errors.ts";
import type { Model } from "../models/load.ts";
import type { Job } from "./job.ts";

export interface EvaluationText {
  readonly file: string;
  /** Of the text as it was read. */
  readonly sha256: string;
  /** Of the whole text. */
  readonly tokens: number;
  readonly windows: readonly Uint32Array[];
}

/** @throws UsageError when the text is shorter than one window. */
export function evaluationText(
  { tokenizer }: Model,
  file: string,
  { window, maxWindows }: { readonly window: number; readonly maxWindows?: number | undefined },
  job: Job,
): EvaluationText {
  job.progress({ stage: `tokenize ${file}`, done: 0, total: 1, unit: "text" });
  const text = readText(file);
  const tokens = tokenizer.encode(text);
  const windows = windowsOf(tokens, window).slice(0, maxWindows);
  if (windows.length === 0)
    throw new UsageError(
      `${file}: its ${tokens.length} tokens are fewer than one window of ${window}; give a longer text or a smaller --window`,
    );
  return { file, sha256: createHash("sha256").update(text).digest("hex"), tokens: tokens.length, windows };
}
