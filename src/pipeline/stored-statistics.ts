/** Stored statistics in place of a calibration pass: those of this model, described as the pass that made them. */
import { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { FormatError, UsageError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import type { Options } from "./plan.ts";

/**
 * @param methods that are going to read them.
 * @throws UsageError when they are another model's or hold too little for a method, FormatError when blocks are missing.
 */
export function openStatistics(path: string, model: Model, ...methods: readonly string[]): StatisticsFolder {
  const folder = StatisticsFolder.open(path);
  const { files, model: made } = folder.manifest;
  if (made.fingerprint !== modelFingerprint(model))
    throw new UsageError(
      `--statistics ${path}: expected statistics of ${model.source}, got those of another model (${made.name}); calibrate this one`,
    );
  const reader = methods.find(readsGradients);
  if (reader !== undefined && !folder.manifest.gradients)
    throw new UsageError(`--statistics ${path}: holds no gradients, which ${reader} reads; calibrate again with --gradients`);
  if (files.length === model.config.blocks) return folder;
  throw new FormatError(path, `expected ${model.config.blocks} blocks as the model has, got ${files.length}; calibrate again`);
}

/** Whether a method weighs outputs by what the loss feels of them. */
export const readsGradients = (method: string) => methodNamed(method).needs.includes("gradients");

/** The options of the run that would have made the statistics. */
export function withStatistics(options: Options, folder: StatisticsFolder): Options {
  const { statistics: _, ...rest } = options;
  const { texts, window, randomWindows = 0 } = folder.manifest;
  const samples = samplesOf(folder);
  return { ...rest, calibration: texts.map(({ text }) => text), samples, window, randomTokens: randomWindows / samples };
}

/** Windows of the texts that were summed. */
export const samplesOf = ({ manifest }: StatisticsFolder) => manifest.texts.reduce((sum, { samples }) => sum + samples, 0);

/** What stands for the SHA-256 of the calibration text: of one text the same. */
export function calibrationSha256({ manifest }: StatisticsFolder): string {
  return manifest.texts.map(({ sha256 }) => sha256).join("+");
}

/** Whether a method compares the dense model's activations with the compressed one's. */
export const comparesModels = ({ needs }: Method) => needs.includes("dense");

/**
 * @param source what would give one model's activations alone, as it is typed; undefined where nothing does.
 * @throws UsageError for a method that compares both models'.
 */
export function checkBothModels(method: string, source: string | undefined): void {
  if (source === undefined || !comparesModels(methodNamed(method))) return;
  throw new UsageError(
    `--method ${method} compares the dense model's activations with the compressed one's, and ${source} knows the dense ones alone; take compress with --calibration, and leave ${source} out`,
  );
}

/** @throws UsageError unless later blocks see the dense model's activations, which is what was stored. */
export function checkPropagation(options: Pick<Options, "method" | "propagate">): void {
  const method = methodNamed(options.method);
  if ((options.propagate ?? method.propagate) === "original" || method.needs.length === 0) return;
  throw new UsageError(
    `--statistics holds the dense model's activations, but ${method.name} would see compressed ones; add --propagate original`,
  );
}
