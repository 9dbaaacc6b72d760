/**
 * Predicted peak memory of compression and calibration: a property of their schedule, not of the number of blocks. One
 * block's weights, its sums and its decompositions are in memory, and the residual streams of all windows, unless they spill.
 */
import { statSync } from "node:fs";
import { parseSource } from "../calibrate/sources.ts";
import { MemoryError } from "../errors.ts";
import { BATCH_TOKENS } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import type { ProjectionShape } from "../models/model.ts";
import { recordingBytes } from "../refine/end-to-end.ts";
import { BYTES } from "../tensor/index.ts";
import { gradientPassBytes } from "./gradient-memory.ts";
import { stacksAmong } from "./joint.ts";

const { f32, f64 } = BYTES;

/** What a run does, as far as its memory goes. */
export interface Work {
  /** Calibration tokens that run through the blocks; 0 where nothing is run. */
  readonly tokens: number;
  /** Of the longest text that is still to be tokenised. */
  readonly textBytes: number;
  /** Values of a token, in hidden sizes, that wait between the steps: its stream, and what a paused block holds. */
  readonly streams: 1 | 2;
  /** Models that the tokens run through side by side: the compressed one alone, or the dense one too. */
  readonly models: 1 | 2;
  /** Whether sums are made or read. */
  readonly sums: boolean;
  readonly decomposes: boolean;
  /** Whether projections that share a right factor are decomposed as one. */
  readonly joint?: boolean;
  /** Whether the gradients at the outputs are summed too, in a pass of their own. */
  readonly gradients: boolean;
  /** Whether the allocator has replacements measured first. */
  readonly measures: boolean;
}

export interface MemoryPlan {
  /** Predicted peak resident memory. */
  readonly peakBytes: number;
  /** Where activations wait between blocks. */
  readonly activations: "memory" | "disk";
}

/** Activations wait in memory where they fit into what is allowed, else in a file. */
export function planMemory(model: Model, work: Work, allowed?: number): MemoryPlan {
  const inMemory = { peakBytes: peakBytes(model, work, "memory"), activations: "memory" } as const;
  if (work.tokens === 0 || allowed === undefined || inMemory.peakBytes <= allowed) return inMemory;
  return { peakBytes: peakBytes(model, work, "disk"), activations: "disk" };
}

/** V8's heap while a text is tokenised, per byte of it: measured, 80 on pequod-5m's tokenizer and 45 on SmolLM2's. */
const TOKENIZER_FACTOR = 64;
/** Freed tensors that the engine keeps for the next ones, at most (native/src/memory.rs). */
const MOST_KEPT = 128 * 2 ** 20;
/** Residual streams of the replacements that ride through the blocks together to be measured; estimates record one block instead. */
export const RIDER_BYTES = 128e6;
/** Work spaces of the matrix products and stacks of the threads. */
const THREADS_BYTES = 30e6;

function peakBytes(model: Model, work: Work, activations: MemoryPlan["activations"]): number {
  const { config, architecture } = model;
  const shapes = architecture.projections(config, 0);
  const sites = [...new Set(shapes.map(({ site }) => site))].map((site) => shapes.filter((shape) => shape.site === site));
  const grams = sites.map(([first]) => (work.sums ? (work.models * (first?.columns ?? 0)) ** 2 * f64 : 0));
  const temporaries = work.models * Math.min(BATCH_TOKENS, work.tokens) * batchValues(model, shapes) * f32;
  const forward = sum(grams) + Math.max(temporaries, work.decomposes ? 0 : sum(grams) / 2); // or the triangles that are stored
  // A site's sums are handed over to its decompositions, those of later sites wait.
  const decompositions = work.decomposes
    ? sites.map((readers) => Math.max(...decomposedAt(model, readers, work).map((shape) => decompositionBytes(shape, work))))
    : [];
  const factorize = Math.max(0, ...decompositions.map((bytes, i) => bytes + sum(grams.slice(i))));
  const weights = work.models * sum(shapes.map(({ rows, columns }) => rows * columns * f32));
  const block = weights + Math.max(forward, factorize);
  // The embeddings as they are in the file's pages, read from them, and in f32.
  const table = config.vocabulary * config.hiddenSize * (f32 + 2 * BYTES.bf16);
  // Activations on their way through a block displace the table, which nothing else does.
  const kept = Math.min(MOST_KEPT, work.tokens > 0 ? Math.min(temporaries, factorize) : table);
  const waiting = activations === "memory" ? work.models * work.streams * work.tokens * config.hiddenSize * f32 : 0;
  const started = process.memoryUsage.rss() + THREADS_BYTES + TOKENIZER_FACTOR * work.textBytes;
  const gradients = work.gradients ? kept + gradientPassBytes(model, Math.min(BATCH_TOKENS, work.tokens)) : 0;
  const measuring = work.measures ? kept + block + Math.max(RIDER_BYTES, recordingBytes(model, BATCH_TOKENS)) : 0;
  return started + Math.max(waiting + Math.max(table, kept + block), gradients, measuring);
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/** What is decomposed of the projections that read a site: each alone, or a stack of them. */
function decomposedAt({ architecture }: Model, readers: readonly ProjectionShape[], { joint }: Work): ProjectionShape[] {
  const stacks = joint ? stacksAmong(architecture, readers) : [];
  return [...readers, ...stacks.map((stack) => ({ ...(stack[0] as ProjectionShape), rows: sum(stack.map(({ rows }) => rows)) }))];
}

/** Values a token of the widest step of a block: the MLP's inputs and output, and the streams around them. */
function batchValues({ config }: Model, shapes: readonly ProjectionShape[]): number {
  const widest = Math.max(...shapes.map(({ columns }) => columns));
  return 6 * config.hiddenSize + 3 * widest;
}

/**
 * The weight, what it becomes and what measures it, m x n each, and an eigendecomposition of the smaller side, all f64; where both
 * models are compared, three n x n more to bring one's inputs to the other's.
 */
function decompositionBytes({ rows, columns }: ProjectionShape, { models }: Work): number {
  return (6 * rows * columns + 4 * Math.min(rows, columns) ** 2 + (models - 1) * 3 * columns ** 2) * f64;
}

/** Of the longest of these calibration sources; a file that is not there is found missing when it is read. */
export function longestText(sources: readonly string[] = []): number {
  const sizes = sources.map((source) => statSync(parseSource(source).file, { throwIfNoEntry: false })?.size ?? 0);
  return Math.max(0, ...sizes);
}

/** @throws MemoryError when `what` needs more bytes than are allowed, naming the options that would lower it. */
export function refuseAbove(allowed: number | undefined, needed: number, what: string, smaller: string): void {
  if (allowed === undefined || needed <= allowed) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  const remedy = `raise --memory, or lower ${smaller}`;
  throw new MemoryError(`--memory: ${what} needs about ${gigabytes(needed)}, ${gigabytes(allowed)} are allowed; ${remedy}`);
}
