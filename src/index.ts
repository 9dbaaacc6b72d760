/**
 * The public library: the same jobs as the command line, typed. Long ones run in a worker thread and give promises.
 *
 * ```ts
 * import { compress, evaluate } from "rankfold";
 * const made = await compress({ model: "./SmolLM2-135M", out: "./small", keep: 0.8, calibration: "text.txt" });
 * const { texts } = await evaluate({ model: made.out, texts: ["wikitext.txt"], window: 1024 });
 * ```
 */
import { type ExportOptions, exportOptions } from "./pipeline/export-options.ts";
import type { ExportResult } from "./pipeline/export-results.ts";
import { runInWorker, type Watcher } from "./pipeline/in-worker.ts";
import {
  type CompressOptions,
  compressOptions,
  type EvaluateOptions,
  evaluateOptions,
  type GenerateOptions,
  generateOptions,
  inspectOptions,
  type PushOptions,
  parseOptions,
  pushOptions,
  type RefineOptions,
  refineOptions,
} from "./pipeline/options.ts";
import type {
  CompressPlan,
  CompressResult,
  EvaluateResult,
  GenerateResult,
  InspectResult,
  PushResult,
  RefineResult,
} from "./pipeline/results.ts";
import {
  type CalibrateOptions,
  calibrateOptions,
  type MergeOptions,
  mergeOptions,
  type SweepOptions,
  sweepOptions,
} from "./pipeline/sweep-options.ts";
import type { CalibrateResult, SweepResult } from "./pipeline/sweep-results.ts";

export * from "./errors.ts";
export { loadModel, type Model } from "./models/load.ts";
export type { ExportOptions } from "./pipeline/export-options.ts";
export type { ExportedModel, ExportResult, LogitCheck } from "./pipeline/export-results.ts";
export type { Watcher } from "./pipeline/in-worker.ts";
export type { Progress } from "./pipeline/job.ts";
export type {
  CompressOptions,
  EvaluateOptions,
  GenerateOptions,
  InspectOptions,
  PushOptions,
  RefineOptions,
} from "./pipeline/options.ts";
export type {
  CompressPlan,
  CompressResult,
  EvaluateResult,
  GenerateResult,
  InspectResult,
  ProjectionReport,
  PushResult,
  Refinement,
  RefineResult,
  TaskResult,
  TextResult,
} from "./pipeline/results.ts";
export type { CalibrateOptions, MergeOptions, SweepOptions } from "./pipeline/sweep-options.ts";
export type { CalibrateResult, SweepCell, SweepResult, SweepRow } from "./pipeline/sweep-results.ts";
export { VERSION } from "./version.ts";

/**
 * Writes a smaller model to `options.out`.
 * @throws UsageError for options out of range, FormatError and NumericsError for a model or text that cannot be used,
 * MemoryError for a plan above `memoryBytes`, InterruptedError when `watcher.signal` is aborted.
 */
export async function compress(options: CompressOptions, watcher: Watcher = {}): Promise<CompressResult> {
  return (await runInWorker("compress", { ...parseOptions(compressOptions, options), dryRun: false }, watcher)) as CompressResult;
}

/** What `compress` would do: ranks, sizes in parameters and bytes, predicted peak memory. Nothing is computed or written. */
export async function plan(options: CompressOptions, watcher: Watcher = {}): Promise<CompressPlan> {
  return (await runInWorker("compress", { ...parseOptions(compressOptions, options), dryRun: true }, watcher)) as CompressPlan;
}

/** Trains a folder that `compress` wrote towards the dense model, into another folder. @throws as `compress` does. */
export function refine(options: RefineOptions, watcher: Watcher = {}): Promise<RefineResult> {
  return runInWorker("refine", parseOptions(refineOptions, options), watcher);
}

/** Perplexity of a model on texts, and its accuracy on zero-shot tasks. @throws as `compress` does. */
export function evaluate(options: EvaluateOptions, watcher: Watcher = {}): Promise<EvaluateResult> {
  return runInWorker("evaluate", parseOptions(evaluateOptions, options), watcher);
}

/** Continues a prompt; `watcher.onText` gets each piece as it is made. @throws as `compress` does. */
export function generate(options: GenerateOptions, watcher: Watcher = {}): Promise<GenerateResult> {
  return runInWorker("generate", parseOptions(generateOptions, options), watcher);
}

/** Writes the model for other programs: an ONNX folder, or one whole matrix a projection again. @throws as `compress` does. */
export function exportModel(options: ExportOptions, watcher: Watcher = {}): Promise<ExportResult> {
  return runInWorker("export", parseOptions(exportOptions, options), watcher);
}

/** Architecture, sizes and break-even ranks of a model. @throws as `compress` does. */
export function inspect(model: string, watcher: Watcher = {}): Promise<InspectResult> {
  return runInWorker("inspect", parseOptions(inspectOptions, { model }), watcher);
}

/** Sums a model's activations on texts into a folder, for `compress` and `sweep` to share. @throws as `compress` does. */
export function calibrate(options: CalibrateOptions, watcher: Watcher = {}): Promise<CalibrateResult> {
  return runInWorker("calibrate", parseOptions(calibrateOptions, options), watcher);
}

/** Adds up the statistics of several texts, one model's. @throws as `compress` does. */
export function mergeStatistics(options: MergeOptions, watcher: Watcher = {}): Promise<CalibrateResult> {
  return runInWorker("mergeStatistics", parseOptions(mergeOptions, options), watcher);
}

/** Measures methods at several sizes on texts, from one calibration; writes tables and a report. @throws as `compress` does. */
export function sweep(options: SweepOptions, watcher: Watcher = {}): Promise<SweepResult> {
  return runInWorker("sweep", parseOptions(sweepOptions, options), watcher);
}

/** Puts a folder that `compress` wrote on the hub. @throws UsageError without a token, HubError when the hub refuses. */
export function push(options: PushOptions, watcher: Watcher = {}): Promise<PushResult> {
  return runInWorker("push", parseOptions(pushOptions, options), watcher);
}
