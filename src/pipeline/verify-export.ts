/** Compares the logits of what was written with the model's own, on the beginning of a text. */
import { freemem } from "node:os";
import { basename } from "node:path";
import { NumericsError } from "../errors.ts";
import { type Logits, logitDifference } from "../evaluate/logit-difference.ts";
import type { OnnxDecoder } from "../evaluate/onnx-decoder.ts";
import { loadOnnxruntime, openOnnx } from "../evaluate/onnxruntime.ts";
import { disposeBatches, forwardWindows, logitsOf, readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { formatBytes } from "../report/units.ts";
import { scope } from "../tensor/index.ts";
import type { LogitCheck } from "./export-results.ts";
import type { Job } from "./job.ts";

/** Enough for every position to see others, few enough for a model that fills the memory. */
const TOKENS = 32;
/** f32 against f32, as a share of the largest logit: three digits above the rounding of their sums. */
export const F32_TOLERANCE = 1e-4;
/** Herman Melville, Moby-Dick, chapter 1. */
const TEXT =
  "Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in my purse, and nothing " +
  "particular to interest me on shore, I thought I would sail about a little and see the watery part of the world.";

export interface Reference extends Logits {
  readonly tokens: Uint32Array;
}

/** The model's own logits of the text's first tokens. */
export function referenceLogits(model: Model): Reference {
  const tokens = testTokens(model);
  return { tokens, values: logitsOfTokens(model, tokens), vocabulary: model.config.vocabulary };
}

function testTokens({ tokenizer, config }: Model): Uint32Array {
  const text = tokenizer.encode(TEXT).filter((id) => id < config.vocabulary);
  const count = Math.min(TOKENS, config.maxPositions);
  return Uint32Array.from({ length: count }, (_, i) => text[i % text.length] ?? i % config.vocabulary);
}

/** t x v */
export function logitsOfTokens(model: Model, tokens: Uint32Array): Float32Array {
  return scope(() => {
    const batches = forwardWindows(model, [tokens]);
    const head = readHead(model);
    const logits = batches.map(({ stream }) => logitsOf(model, head, stream.read()).toFloat32Array());
    disposeBatches(batches);
    return logits[0] as Float32Array;
  });
}

/** Runs an `.onnx` file and its data in onnxruntime, whole and token by token; null, with a note, where that cannot be. */
export async function verifyOnnx(path: string, bytes: number, reference: Reference, job: Job): Promise<LogitCheck | null> {
  const obstacle = await obstacleTo(bytes);
  if (obstacle) {
    job.note(`${basename(path)} is written but not verified: ${obstacle}`);
    return null;
  }
  const decoder = await openOnnx(path);
  try {
    const tokens = [...reference.tokens];
    const prompt = logitDifference(reference, await decoder.advance(tokens));
    const cached = logitDifference(reference, await oneByOne(decoder, tokens, reference.vocabulary));
    return { tokens: tokens.length, prompt: prompt.relative, cached: cached.relative, divergence: prompt.divergence };
  } finally {
    await decoder.close();
  }
}

/** Why a model of so many bytes cannot be run here; onnxruntime may hold its weights twice, as stored and as packed. */
async function obstacleTo(bytes: number): Promise<string | undefined> {
  if (!(await loadOnnxruntime())) return "onnxruntime-node is not installed (npm install onnxruntime-node)";
  if (2 * bytes <= freemem()) return undefined;
  return `running it takes up to ${formatBytes(2 * bytes)} of memory, ${formatBytes(freemem())} are free`;
}

async function oneByOne(decoder: OnnxDecoder, tokens: readonly number[], vocabulary: number): Promise<Float32Array> {
  const logits = new Float32Array(tokens.length * vocabulary);
  decoder.restart();
  for (const [i, token] of tokens.entries()) logits.set(await decoder.advance([token]), i * vocabulary);
  return logits;
}

/** @throws NumericsError when a check that has to hold does not. */
export function requireEqual(what: string, check: LogitCheck | null): void {
  const worst = Math.max(check?.prompt ?? 0, check?.cached ?? 0);
  if (worst <= F32_TOLERANCE) return;
  throw new NumericsError(
    `${what}: expected logits within ${F32_TOLERANCE} of the model's, got ${worst.toExponential(2)}; nothing was written, report this`,
  );
}
