/**
 * Pre-tokenizers by regular expressions that mean here what they mean in the tokenizers of other programs. The library turns
 * the expressions of `Split` into exact ones, but has JavaScript's own in `Digits` (only 0 to 9) and `ByteLevel` (other white
 * space), so these two are spelled as `Split`.
 */
import { isObject, type JsonObject } from "../json-object.ts";

/** The words of GPT-2, which `ByteLevel` finds when it says `use_regex`. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The same pre-tokenizer without `Digits`, and with a `ByteLevel` that only maps bytes. */
export function exactPreTokenizer(step: unknown): unknown {
  if (!isObject(step)) return step;
  if (step.type === "Sequence" && Array.isArray(step.pretokenizers)) {
    return { ...step, pretokenizers: step.pretokenizers.map(exactPreTokenizer) };
  }
  if (step.type === "Digits") return isolate(step.individual_digits ? "\\p{N}" : "\\p{N}+");
  return findsWords(step) ? sequence(isolate(GPT2_WORDS), { ...step, use_regex: false }) : step;
}

/** A space put before the text comes before the words are found, so that case stays with the library. */
function findsWords(step: JsonObject): boolean {
  return step.type === "ByteLevel" && step.use_regex !== false && step.add_prefix_space === false;
}

function isolate(pattern: string): JsonObject {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

function sequence(...pretokenizers: unknown[]): JsonObject {
  return { type: "Sequence", pretokenizers };
}
