/**
 * Perplexity of a text: tokenised once without special tokens, consecutive non-overlapping windows, the rest dropped;
 * exp of the mean negative log-likelihood over window - 1 predictions a window. Log-softmax f32, sums f64.
 */
import { NumericsError, UsageError } from "../errors.ts";
import type { Head } from "../models/forward.ts";
import { type Batch, disposeBatches, forwardWindows, LOGIT_ROWS, logitsOf, readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { negativeLogLikelihood, scope, type Tensor } from "../tensor/index.ts";

/** Tokens that go through the blocks together: bounds the residual stream in memory, and amortises reading the weights. */
const GROUP_TOKENS = 32_768;

export interface Perplexity {
  readonly perplexity: number;
  /** Mean negative log-likelihood a predicted token, natural logarithm. */
  readonly meanNll: number;
}

/**
 * @param windows token ids, all of one length.
 * @param progress told how many windows' worth of work is done.
 * @throws NumericsError when a window's likelihood is not finite, UsageError when there is no window.
 */
export function perplexity(
  model: Model,
  windows: readonly Uint32Array[],
  progress: (windowsDone: number) => void = () => {},
): Perplexity {
  if (windows.length === 0)
    throw new UsageError("perplexity: the text is shorter than one window; give a longer text or a smaller --window");
  let start = 0;
  let total = 0;
  for (const part of windowGroups(windows)) {
    const first = start;
    total += groupNll(model, part, first, (fraction) => progress(first + fraction * part.length));
    start += part.length;
  }
  return perplexityOf(total, windows);
}

/** Windows that go through the blocks together. */
export function windowGroups(windows: readonly Uint32Array[]): (readonly Uint32Array[])[] {
  const size = Math.max(1, Math.floor(GROUP_TOKENS / (windows[0]?.length ?? 1)));
  return Array.from({ length: Math.ceil(windows.length / size) }, (_, i) => windows.slice(i * size, (i + 1) * size));
}

/** @param nll summed over all windows. */
export function perplexityOf(nll: number, windows: readonly Uint32Array[]): Perplexity {
  const meanNll = nll / (windows.length * ((windows[0]?.length ?? 0) - 1));
  return { perplexity: Math.exp(meanNll), meanNll };
}

function groupNll(model: Model, windows: readonly Uint32Array[], first: number, progress: (fraction: number) => void): number {
  const batches = forwardWindows(model, windows, (block) => progress(block / model.config.blocks));
  try {
    return scope(() => windowsNll(model, readHead(model), { batches, windows, first }));
  } finally {
    disposeBatches(batches);
  }
}

/** Windows behind the last block. */
export interface Evaluated {
  readonly batches: readonly Batch[];
  readonly windows: readonly Uint32Array[];
  /** Number of the first window in its text, for messages. */
  readonly first: number;
}

/** Negative log-likelihood of all windows, summed. @throws NumericsError when a window's is not finite. */
export function windowsNll(model: Model, head: Head, { batches, windows, first }: Evaluated): number {
  let at = 0;
  return batches.reduce((sum, batch) => {
    const part = windows.slice(at, at + batch.run.sequences);
    at += part.length;
    return sum + batchNll(model, head, batch, part, first + at - part.length);
  }, 0);
}

function batchNll(model: Model, head: Head, { stream }: Batch, windows: readonly Uint32Array[], first: number): number {
  return windows.reduce((sum, tokens, i) => {
    const nll = windowNll(model, head, { x: stream.read(), start: i * tokens.length }, tokens);
    if (!Number.isFinite(nll))
      throw new NumericsError(`window ${first + i}: the likelihood is not finite; the model's weights do not fit this text`);
    return sum + nll;
  }, 0);
}

/** Sum of the negative log-likelihoods of a window's tokens after the first. */
function windowNll(model: Model, head: Head, { x, start }: { x: Tensor; start: number }, tokens: Uint32Array): number {
  let sum = 0;
  for (let row = 0; row < tokens.length - 1; row += LOGIT_ROWS) {
    const end = Math.min(row + LOGIT_ROWS, tokens.length - 1);
    const rows = scope(() =>
      negativeLogLikelihood(logitsOf(model, head, x.rowRange(start + row, start + end)), tokens.slice(row + 1, end + 1)),
    );
    sum += rows.reduce((a, b) => a + b, 0);
  }
  return sum;
}
