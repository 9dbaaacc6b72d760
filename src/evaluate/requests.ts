/**
 * Texts to requests, as lm-evaluation-harness 0.4.13 splits them (api/model.py, loglikelihood and _encode_pair): context and
 * continuation are tokenised together, spaces at the end of the context belong to the continuation, an empty context is the
 * beginning-of-text token (else the end-of-text one), and what is too long for the model is cut on the left.
 */
import { UnsupportedError, UsageError } from "../errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { Request } from "./packing.ts";

export interface Splitting {
  readonly tokenizer: Tokenizer;
  /** Whether every prompt begins with the beginning-of-text token. */
  readonly bos: boolean;
  /** Tokens the model sees at most. */
  readonly maxPositions: number;
}

/** @throws UsageError when the continuation has no token, or more than the model can see. */
export function requestOf(context: string, continuation: string, splitting: Splitting): Request {
  const pair = context === "" ? afterNothing(continuation, splitting) : splitPair(context, continuation, splitting);
  const { maxPositions } = splitting;
  const length = pair.continuation.length;
  if (length === 0 || pair.context.length === 0 || length > maxPositions) {
    const expected = `a continuation of 1 to ${maxPositions} tokens after a context`;
    throw new UsageError(`"${continuation.slice(0, 40)}": expected ${expected}, got ${length} after ${pair.context.length}`);
  }
  // The last token is predicted, not seen.
  return { ...pair, context: pair.context.slice(-Math.max(1, maxPositions + 1 - length)) };
}

function splitPair(context: string, continuation: string, splitting: Splitting): Request {
  const trimmed = context.trimEnd();
  const whole = encode(context + continuation, splitting);
  const before = encode(trimmed, splitting);
  return { context: before, continuation: whole.subarray(before.length) };
}

function encode(text: string, { tokenizer, bos }: Splitting): Uint32Array {
  const tokens = tokenizer.encode(text);
  const { bosId } = tokenizer;
  return bos && bosId !== undefined && tokens[0] !== bosId ? Uint32Array.from([bosId, ...tokens]) : tokens;
}

function afterNothing(continuation: string, { tokenizer }: Splitting): Request {
  const tokens = tokenizer.encode(continuation);
  const start = tokenizer.bosId ?? [...tokenizer.eosIds][0];
  if (start === undefined)
    throw new UnsupportedError("an empty context needs a beginning- or end-of-text token, and the tokenizer names neither");
  if (tokens[0] === start) return { context: tokens.subarray(0, 1), continuation: tokens.subarray(1) };
  return { context: Uint32Array.of(start), continuation: tokens };
}
