/** The statistics that a compression reads: those given, or made from its calibration text first. */
import { existsSync, rmSync } from "node:fs";
import { allocatorNamed } from "../allocate/registry.ts";
import type { Calibration } from "../calibrate/sources.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { UsageError } from "../errors.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import { calibrationText, readCalibrationOf, sumWindows } from "./calibrate.ts";
import type { Job } from "./job.ts";
import type { Options } from "./plan.ts";
import { calibrationSha256, checkBothModels, openStatistics, readsGradients, samplesOf } from "./stored-statistics.ts";

export interface Summed {
  readonly folder: StatisticsFolder;
  /** Made for this run alone, to be deleted after it. */
  readonly temporary: boolean;
}

/** @throws UsageError where activations are to be measured and there is nothing to measure them on, or what gives too little. */
export function checkMeasurable(options: Options): void {
  const { method, calibration, statistics, dryRun } = options;
  checkBothModels(method, denseAlone(options));
  const who = methodNamed(method).needs.length > 0 ? method : readerOf(options);
  if (who === undefined || calibration !== undefined || statistics !== undefined || dryRun) return;
  throw new UsageError(
    `${who} measures activations: give a text with --calibration FILE, or --statistics DIR; --method svd needs neither`,
  );
}

/**
 * Those of `--statistics`, which a calibration text makes where there are none; else temporary ones, where something reads them
 * before the blocks are compressed. None for a plan of what was never measured.
 */
export async function statisticsFor(model: Model, options: Options, job: Job): Promise<Summed | undefined> {
  const { statistics, calibration, out } = options;
  if (statistics !== undefined && (calibration === undefined || existsSync(statistics))) {
    const folder = openStatistics(statistics, model, options.method);
    if (calibration !== undefined) await checkSameWindows(folder, model, options, job);
    return { folder, temporary: false };
  }
  const reader = statistics === undefined ? readerOf(options) : "--statistics";
  if (reader === undefined) return undefined;
  if (options.dryRun) return notMeasured(options);
  const path = statistics ?? `${out}.statistics`;
  if (statistics === undefined && !options.resume) rmSync(path, { recursive: true, force: true });
  if (!existsSync(path)) await makeStatistics(path, model, options, job);
  return { folder: openStatistics(path, model, options.method), temporary: statistics === undefined };
}

/** What makes do with the dense model's activations, as its option; undefined where nothing does. */
function denseAlone(options: Options): string | undefined {
  if (options.statistics !== undefined) return "--statistics";
  return options.propagate === "original" ? "--propagate original" : readerOf(options);
}

/** What reads statistics before the blocks are compressed, as its option; undefined where nothing does. */
function readerOf({ method, allocate, targetPerplexity, targetText }: Options): string | undefined {
  if (readsGradients(method)) return `--method ${method}`;
  if (allocatorNamed(allocate).needs !== "shapes") return `--allocate ${allocate}`;
  const reads = targetPerplexity !== undefined && (methodNamed(method).needs.length > 0 || targetText === undefined);
  return reads ? "--target-perplexity" : undefined;
}

/** Sizes can be planned from shapes alone, a perplexity cannot. */
function notMeasured({ targetPerplexity }: Options): undefined {
  if (targetPerplexity === undefined) return undefined;
  throw new UsageError("--target-perplexity --dry-run: measure first with rankfold calibrate, then give --statistics");
}

async function makeStatistics(out: string, model: Model, options: Options, job: Job): Promise<void> {
  const { statistics, window, memoryBytes, randomTokens } = options;
  if (statistics === undefined) job.note(`what is measured goes with ${out}; --statistics DIR keeps it for other sizes`);
  const calibration = await textWindows(model, options, job);
  const texts = [calibrationText(options.calibration as string[], calibration)];
  const gradients = readsGradients(options.method);
  sumWindows(model, { out, windows: calibration.windows, texts, window, memoryBytes, gradients, randomTokens }, job);
}

/** The windows of the calibration text. */
export function textWindows(model: Model, options: Options, job: Job): Promise<Calibration> {
  return readCalibrationOf(model, { ...options, calibration: options.calibration as string[] }, job);
}

/** @throws UsageError when the folder is there already, but not of this text and these windows. */
async function checkSameWindows(folder: StatisticsFolder, model: Model, options: Options, job: Job): Promise<void> {
  const { sha256, windows } = await textWindows(model, options, job);
  const { window, randomWindows = 0 } = folder.manifest;
  const samples = samplesOf(folder);
  const isSame = calibrationSha256(folder) === sha256 && samples === windows.length && window === options.window;
  const { randomTokens } = options;
  if (isSame && (randomTokens === undefined || Math.round(randomTokens * samples) === randomWindows)) return;
  throw new UsageError(
    `--statistics ${folder.path}: holds the sums of another text or of other windows; leave --calibration out, or give a new folder`,
  );
}
