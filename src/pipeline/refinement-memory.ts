/** Predicted peak memory of an end-to-end refinement: it holds the whole model, and grows with it. */
import { windowsTogether } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { LOGIT_ROWS } from "../refine/divergence.ts";
import { RECORDED_BYTES, recordingBytes } from "../refine/end-to-end.ts";
import { BYTES } from "../tensor/index.ts";

export function refinementBytes(model: Model, dense: Model, windows: readonly Uint32Array[]): number {
  const { config } = model;
  const table = config.vocabulary * config.hiddenSize;
  const tables = (config.tiedEmbeddings ? 1 : 2) * table;
  const trained = model.parameters - tables;
  const length = windows[0]?.length ?? 0;
  const rows = windowsTogether(length) * length;
  const block = recordingBytes(dense, rows);
  // Weights, two moments, the best weights, and one more copy where a block is read or written; the tables of both models.
  const weights = 5 * trained + tables + table;
  const states = (windows.length * length + rows * config.blocks) * config.hiddenSize;
  const recorded = Math.max(2 * block, Math.min(config.blocks * block, RECORDED_BYTES));
  const logits = 4 * LOGIT_ROWS * config.vocabulary;
  return process.memoryUsage.rss() + recorded + (weights + states + logits) * BYTES.f32;
}
