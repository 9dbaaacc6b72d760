/**
 * Calibration text from one or several files: text, `.jsonl` and `.parquet`, each with a weight (`notes.txt:2`). The windows are
 * shared out in proportion to the weights, and each source's are sampled by the fixed convention (corpus.ts). A text gives full
 * windows; a task's rows are prompts, each a window as long as it is (ROM's mixture of tasks). Nothing is ever padded.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { FormatError, UsageError } from "../errors.ts";
import { readJsonLines, readTextFile } from "../formats/json-lines.ts";
import { readParquet } from "../formats/parquet.ts";
import type { JsonObject } from "../json-object.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { evenly, sampleWindows } from "./corpus.ts";
import { type PromptOf, type RowReading, rowText } from "./row-text.ts";

export interface Source {
  readonly file: string;
  /** Share of the windows, relative to the other sources'. */
  readonly weight: number;
}

export interface CalibrationOptions {
  readonly tokenizer: Tokenizer;
  /** Windows in all, and tokens a window; of a prompt, at most. */
  readonly samples: number;
  readonly window: number;
  readonly promptOf: PromptOf;
  /** Render conversations with the model's chat template. */
  readonly chatTemplate: boolean;
}

export interface Calibration {
  readonly windows: readonly Uint32Array[];
  /** Of the text; of several sources, of their shares and texts. */
  readonly sha256: string;
}

/** The windows of all sources, source after source. @throws UsageError when a text is too short, naming its file. */
export async function readCalibration(sources: readonly string[], options: CalibrationOptions): Promise<Calibration> {
  const { tokenizer, samples, window, promptOf, chatTemplate } = options;
  const parsed = sources.map(parseSource);
  const shares = shareOut(parsed, samples);
  const windows: Uint32Array[] = [];
  const digests: string[] = [];
  for (const [i, { file }] of parsed.entries()) {
    const share = shares[i] as number;
    const source = await readSource(file, { promptOf, ...(chatTemplate ? { chat: tokenizer } : {}) });
    windows.push(
      ...(typeof source === "string"
        ? sampleWindows(tokenizer.encode(source), share, window, file)
        : samplePrompts(source, share, file).map((prompt) => tokenizer.encode(prompt).subarray(0, window))),
    );
    digests.push(sha256(typeof source === "string" ? source : JSON.stringify(source)));
  }
  return { windows, sha256: digests.length === 1 ? (digests[0] as string) : sha256(JSON.stringify([shares, digests])) };
}

/**
 * As many windows as the texts hold, `samples` at most: sources share them in proportion to their weights, so that the text that
 * is used up first says how many there are. @throws UsageError when a text holds none, or a file holds prompts.
 */
export async function readTextWindows(
  sources: readonly string[],
  { tokenizer, samples, window, promptOf, chatTemplate }: CalibrationOptions,
): Promise<Calibration> {
  const parsed = sources.map(parseSource);
  const texts: { tokens: Uint32Array; sha256: string }[] = [];
  for (const { file } of parsed) {
    const source = await readSource(file, { promptOf, ...(chatTemplate ? { chat: tokenizer } : {}) });
    if (typeof source !== "string") throw new UsageError(`${file}: holds prompts of a task; give running text`);
    texts.push({ tokens: tokenizer.encode(source), sha256: sha256(source) });
  }
  const weights = parsed.reduce((sum, { weight }) => sum + weight, 0);
  const most = parsed.map(({ weight }, i) => (Math.floor((texts[i]?.tokens.length ?? 0) / window) * weights) / weight);
  const shares = shareOut(parsed, Math.min(samples, Math.floor(Math.min(...most))));
  const windows = parsed.flatMap(({ file }, i) =>
    sampleWindows(texts[i]?.tokens as Uint32Array, shares[i] as number, window, file),
  );
  const digests = texts.map((text) => text.sha256);
  return { windows, sha256: digests.length === 1 ? (digests[0] as string) : sha256(JSON.stringify([shares, digests])) };
}

/** @throws UsageError when there are fewer, FormatError when one is empty. */
function samplePrompts(prompts: readonly string[], samples: number, file: string): string[] {
  if (prompts.length < samples)
    throw new UsageError(
      `${file}: ${samples} prompts were asked for, the file holds ${prompts.length}; give a longer file, or a smaller --samples`,
    );
  const chosen = evenly(prompts, samples);
  if (chosen.some((prompt) => prompt === "")) throw new FormatError(file, "expected questions with answers, found an empty one");
  return chosen;
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** `FILE` or `FILE:WEIGHT`; a file of that whole name goes first. @throws UsageError for a weight of 0 */
export function parseSource(source: string): Source {
  const [, file, weight] = /^(.+):(\d+(?:\.\d+)?)$/.exec(source) ?? [];
  if (file === undefined || existsSync(source)) return { file: source, weight: 1 };
  if (Number(weight) > 0) return { file, weight: Number(weight) };
  throw new UsageError(`--calibration ${source}: expected a weight above 0; leave the file out instead`);
}

/** Windows of each source: in proportion to the weights, what rounding leaves to the largest remainders, the first of equals. */
export function shareOut(sources: readonly Source[], samples: number): number[] {
  const total = sources.reduce((sum, { weight }) => sum + weight, 0);
  const exact = sources.map(({ weight }) => (samples * weight) / total);
  const shares = exact.map(Math.floor);
  const byRemainder = exact.map((value, i) => ({ i, remainder: value - Math.floor(value) }));
  byRemainder.sort((a, b) => b.remainder - a.remainder || a.i - b.i);
  const left = samples - shares.reduce((a, b) => a + b, 0);
  for (const { i } of byRemainder.slice(0, left)) shares[i] = (shares[i] as number) + 1;
  const empty = sources[shares.indexOf(0)];
  if (!empty) return shares;
  throw new UsageError(`${empty.file}: none of the ${samples} windows falls to it; raise --samples or its weight`);
}

/**
 * A source's text: `.jsonl` and `.parquet` rows joined by a blank line (conversations by nothing), anything else as it is.
 * Rows that all are a task's stay apart: its prompts.
 */
export async function readSource(file: string, reading: RowReading): Promise<string | string[]> {
  if (!/\.(jsonl|parquet)$/.test(file)) return readTextFile(file);
  const rows = file.endsWith(".jsonl") ? readJsonLines(file) : await parquetRows(file, reading);
  if (rows.length === 0) throw new FormatError(file, "expected rows of text, found none");
  const texts = rows.map(({ line, fields }) => rowText(fields, { file, line }, reading));
  if (texts.every(({ isPrompt }) => isPrompt)) return texts.map(({ text }) => text);
  return texts.map(({ text, gap }, i) => (i === texts.length - 1 ? text : text + gap)).join("");
}

async function parquetRows(file: string, { chat }: RowReading): Promise<{ line: number; fields: JsonObject }[]> {
  const rows = await readParquet(file, chat ? "messages" : "text");
  return rows.map((fields, i) => ({ line: i + 1, fields }));
}
