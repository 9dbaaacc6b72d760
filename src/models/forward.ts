/**
 * The forward pass block by block over many windows of tokens at once: one block's weights in memory, and the residual
 * stream of all windows. Calibration, evaluation and the measurements of allocators all run on it.
 */
import { NumericsError } from "../errors.ts";
import { dispose, embed, keep, rmsNorm, scope, type Tensor } from "../tensor/index.ts";
import type { Model } from "./load.ts";
import type { BlockWeights, ModelConfig, RowRange, Run, Span } from "./model.ts";
import { forwardBlock } from "./model.ts";
import { type Held, type Holder, inMemory } from "./streams.ts";
import { EMBEDDING, FINAL_NORM, HEAD, readBlock, type TensorSource } from "./weights.ts";

/** Rows that go through a block together: enough for the matrix products, few enough for the cache. */
export const BATCH_TOKENS = 2048;

/** Windows that run through the blocks together, and their residual stream. */
export interface Batch {
  readonly run: Run;
  /** A row for each token: t x d. */
  readonly stream: Held;
}

/** A batch whose stream is held in memory. */
export function batchOf(run: Run, x: Tensor): Batch {
  return { run, stream: inMemory.hold(x) };
}

/** Looks up the windows' token ids and groups them into batches, which the caller disposes of. */
export function embedWindows(model: Model, windows: readonly Uint32Array[], holder: Holder = inMemory): Batch[] {
  if (windows.some(({ length }) => length !== windows[0]?.length)) return embedRows(model, unequalRows(windows), holder);
  return scope(() => batchWindows(model, model.checkpoint.read(EMBEDDING), windows, holder));
}

/** The same for windows of equal length, with the embedding table (v x d) at hand. */
export function batchWindows(model: Model, table: Tensor, windows: readonly Uint32Array[], holder: Holder = inMemory): Batch[] {
  const length = windows[0]?.length ?? 0;
  const positions = keep(model.architecture.positions(model.config, 0, length));
  const sequences = windowsTogether(length);
  return Array.from({ length: Math.ceil(windows.length / sequences) }, (_, i) => {
    const group = windows.slice(i * sequences, (i + 1) * sequences);
    const stream = scope(() => holder.hold(embed(table, concat(group))));
    return { run: { sequences: group.length, positions }, stream };
  });
}

/** Windows of a batch. */
export function windowsTogether(windowTokens: number): number {
  return Math.max(1, Math.floor(BATCH_TOKENS / windowTokens));
}

/** Rows of one forward pass, each a token at a position of one of the sequences. */
export interface Rows {
  readonly tokens: Uint32Array;
  readonly positions: Uint32Array;
  readonly spans: readonly Span[];
}

/** Batches of sequences of unequal length, without padding, which the caller disposes of. */
export function embedRows(model: Model, batches: readonly Rows[], holder: Holder = inMemory): Batch[] {
  return scope(() => {
    const longest = batches.reduce((most, { positions }) => positions.reduce((a, b) => Math.max(a, b + 1), most), 0);
    const { cos, sin } = model.architecture.positions(model.config, 0, longest);
    const table = model.checkpoint.read(EMBEDDING);
    return batches.map(({ tokens, positions, spans }) => {
      const rotation = keep({ cos: cos.selectRows(positions), sin: sin.selectRows(positions) });
      const stream = scope(() => holder.hold(embed(table, tokens)));
      return { run: { sequences: spans.length, positions: rotation, spans }, stream };
    });
  });
}

/** One window after the other, a new batch whenever it would pass BATCH_TOKENS rows. */
function unequalRows(windows: readonly Uint32Array[]): Rows[] {
  const groups: Uint32Array[][] = [];
  let rows = Number.POSITIVE_INFINITY;
  for (const window of windows) {
    rows += window.length;
    if (rows > BATCH_TOKENS) {
      groups.push([]);
      rows = window.length;
    }
    groups.at(-1)?.push(window);
  }
  return groups.map(laidOut);
}

function laidOut(windows: readonly Uint32Array[]): Rows {
  let end = 0;
  const spans = windows.map(({ length }): Span => {
    end += length;
    return { start: end - length, end };
  });
  return { tokens: concat(windows), positions: concat(windows.map((window) => Uint32Array.from(window.keys()))), spans };
}

/** The rows of each sequence of a batch. */
export function sequencesOf({ run }: Batch): readonly RowRange[] {
  const length = run.positions.cos.rows;
  return run.spans ?? Array.from({ length: run.sequences }, (_, i) => ({ start: i * length, end: (i + 1) * length }));
}

function concat(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export interface Watch {
  /** Sees the input of every site, batch by batch. */
  readonly observe?: (site: string, input: Tensor) => void;
  /** Called before each batch: a second of work or less. */
  readonly between?: () => void;
}

/** Runs every batch through one block, in place. */
export function advanceBatches(
  model: Model,
  batches: readonly Batch[],
  weights: BlockWeights,
  block: number,
  watch: Watch = {},
): void {
  const { architecture, config } = model;
  for (const batch of batches) {
    watch.between?.();
    scope(() => {
      const x = batch.stream.read();
      setStream(batch, forwardBlock(architecture, x, { config, weights, run: batch.run }, watch.observe), block);
    });
  }
}

/** Replaces a batch's residual stream by a block's output. @throws NumericsError when it is not finite. */
export function setStream(batch: Batch, x: Tensor, block: number): void {
  if (!x.isFinite())
    throw new NumericsError(`block ${block}: its output has NaN or infinite values; the model's weights do not fit this text`);
  batch.stream.set(x);
}

/** Runs windows through all blocks; the caller disposes of the batches, whose streams are the last block's output. */
export function forwardWindows(
  model: Model,
  windows: readonly Uint32Array[],
  between: (block: number) => void = () => {},
): Batch[] {
  const batches = embedWindows(model, windows);
  forwardBatches(model, batches, between);
  return batches;
}

/** Runs every batch through all blocks, in place. */
export function forwardBatches(model: Model, batches: readonly Batch[], between: (block: number) => void): void {
  for (let block = 0; block < model.config.blocks; block++) {
    scope(() => {
      const weights = readBlock(model.checkpoint, model.architecture, model.config, block);
      advanceBatches(model, batches, weights, block, { between: () => between(block) });
    });
  }
}

/** The final norm and the head of a model, read once. */
export interface Head {
  readonly norm: Tensor;
  readonly table: Tensor; // v x d
}

export function readHead({ checkpoint, config }: { checkpoint: TensorSource; config: ModelConfig }): Head {
  return { norm: checkpoint.read(FINAL_NORM), table: checkpoint.read(config.tiedEmbeddings ? EMBEDDING : HEAD) };
}

/** Rows of logits at a time: enough for products at full speed, few enough for a large vocabulary. */
export const LOGIT_ROWS = 256;

/** Logits of rows of the last block's output: t x d to t x v. */
export function logitsOf(model: Model, head: Head, x: Tensor): Tensor {
  return scope(() => rmsNorm(x, head.norm, model.config.normEps).matmulTransposed(head.table));
}

export function disposeBatches(batches: readonly Batch[]): void {
  for (const { stream, run } of batches) {
    stream.dispose();
    dispose([run.positions.cos, run.positions.sin]);
  }
}
