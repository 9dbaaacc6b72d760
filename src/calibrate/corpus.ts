/** Text files -> windows of tokens, by the conventions that make numbers comparable: no special tokens, no randomness. */
import { FormatError, UsageError } from "../errors.ts";
import { readJsonLines, readTextFile } from "../formats/json-lines.ts";

/** A text file whole: `.jsonl` rows' `text` fields joined by a blank line, anything else as it is. @throws StorageError, FormatError */
export function readText(file: string): string {
  if (!file.endsWith(".jsonl")) return readTextFile(file);
  const texts = readJsonLines(file).map(({ line, fields: { text } }) => {
    if (typeof text === "string") return text;
    throw new FormatError(file, `line ${line} has no "text" field`);
  });
  return texts.join("\n\n");
}

/** All non-overlapping windows of a token stream, the rest dropped. */
export function windowsOf(tokens: Uint32Array, window: number): Uint32Array[] {
  return Array.from({ length: Math.floor(tokens.length / window) }, (_, i) => tokens.subarray(i * window, (i + 1) * window));
}

/**
 * `samples` windows spread evenly over the text: sample i of N is window floor(i B / N) of B.
 * @throws UsageError when the text holds fewer than `samples` windows.
 */
export function sampleWindows(tokens: Uint32Array, samples: number, window: number, file: string): Uint32Array[] {
  const windows = windowsOf(tokens, window);
  if (windows.length < samples) {
    const remedy = "give a longer text, or a smaller --samples or --window";
    throw new UsageError(
      `${file}: ${samples} windows of ${window} tokens were asked for, the text holds ${windows.length}; ${remedy}`,
    );
  }
  return evenly(windows, samples);
}

/** `count` items spread evenly over all: item i of N is number floor(i B / N) of B. */
export function evenly<T>(items: readonly T[], count: number): T[] {
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)] as T);
}
