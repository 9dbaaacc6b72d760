/** `compress --refine`: compresses to a folder beside the output, and trains what is there into the output. */
import { existsSync, rmSync } from "node:fs";
import { UsageError } from "../errors.ts";
import { compress } from "./compress.ts";
import type { Job } from "./job.ts";
import { readManifest } from "./manifest.ts";
import { peakRssBytes } from "./measure.ts";
import { parseOptions, refineOptions } from "./options.ts";
import { checkFree } from "./output-folder.ts";
import type { GivenOptions } from "./plan.ts";
import { refine } from "./refine.ts";
import type { CompressPlan, CompressResult } from "./results.ts";

export async function compressRefined(options: GivenOptions, job: Job): Promise<CompressResult | CompressPlan> {
  const { refine: level, refineCalibration, refineMinutes, refineSteps, ...rest } = options;
  if (level === undefined || options.dryRun) return compress(options, job);
  checkFree(options.out);
  const calibration = refineCalibration ?? options.calibration;
  if (calibration === undefined) throw new UsageError("--refine: needs text to train on; give it with --refine-calibration FILE");
  const between = `${options.out}.unrefined`;
  const compressed = await compressedAt(between, { ...rest, refineMinutes }, job);
  const { model: against, out, chatTemplate, window, seed, threads, memoryBytes, resume } = options;
  const shared = { against, out, chatTemplate, window, seed, threads, memoryBytes, resume };
  const given = { ...shared, model: between, level, calibration, minutes: refineMinutes, steps: refineSteps };
  const {
    out: _,
    parameters: _parameters,
    bytes: _bytes,
    peakRssBytes: _peak,
    ...refinement
  } = await refine(parseOptions(refineOptions, given), job);
  rmSync(between, { recursive: true });
  const seconds = compressed.seconds + refinement.seconds;
  return { ...compressed, out, seconds, peakRssBytes: peakRssBytes(), refinement };
}

/** The compressed model in that folder; an interrupted run may have made it already. */
async function compressedAt(out: string, options: GivenOptions, job: Job): Promise<CompressResult> {
  const made = options.resume && existsSync(out) ? readManifest(out) : undefined;
  return made ? { ...made, out } : ((await compress({ ...options, out }, job)) as CompressResult);
}
