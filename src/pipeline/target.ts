/** The keep that reaches a target: so many bytes, or a perplexity that is still accepted. */
import type { Allocation } from "../allocate/allocator.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { UsageError } from "../errors.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import type { Model } from "../models/load.ts";
import { evaluationText } from "./evaluation-text.ts";
import type { Job } from "./job.ts";
import { fewProbes } from "./measurements.ts";
import { type GivenOptions, type Options, type Plan, planCompression } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { CellMeasurement } from "./sweep-cell.ts";
import { runPass } from "./sweep-pass.ts";

/** Less is never tried. */
const LEAST_KEEP = 0.05;
/** Keeps are found to this. */
const EXACT = 1e-4;
/** Perplexity is measured at so many keeps in one pass over the blocks, in so many passes. */
const AT_ONCE = 4;
const PASSES = 3;
/** What is measured of --target-text: the first windows, in tokens each. */
const TEXT = { window: 1024, maxWindows: 10 };

/** @throws UsageError when more than one thing says how much to keep. */
export function checkTarget({
  keep,
  blockKeep,
  targetBytes,
  targetPerplexity,
  targetText,
  allocate,
}: GivenOptions & Recipe): void {
  const given = Object.entries({ keep, blockKeep, targetBytes, targetPerplexity }).filter(([, value]) => value !== undefined);
  const isTargeted = targetBytes !== undefined || targetPerplexity !== undefined;
  const names = given.map(([name]) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  if (isTargeted && given.length > 1) throw new UsageError(`${names.join(" and ")}: each says how much to keep; give one`);
  if (targetText !== undefined && targetPerplexity === undefined)
    throw new UsageError("--target-text: is what --target-perplexity is measured on; give that too");
  if (isTargeted && allocatorNamed(allocate).needs === "trials")
    throw new UsageError(
      `--allocate ${allocate}: searches anew at every size, so it cannot be searched by ${names}; give --keep`,
    );
}

interface TargetSearch {
  readonly model: Model;
  readonly options: Options;
  readonly stored: StatisticsFolder | undefined;
  readonly allocationAt: (keep: number) => Allocation;
  readonly job: Job;
}

/** The keep that the options ask for, found where they name a target; says each step. */
export function keepFor({ model, options, stored, allocationAt, job }: TargetSearch): number {
  const { targetBytes, targetPerplexity } = options;
  if (targetBytes === undefined && targetPerplexity === undefined) return options.keep;
  const planAt = (keep: number) => planCompression(model, { ...options, keep }, allocationAt(keep));
  if (targetBytes !== undefined) return keepForBytes(targetBytes, planAt, job);
  return keepForPerplexity(targetPerplexity as number, { model, options, stored, planAt, job });
}

/** The largest keep whose weights take at most `bytes`. Nothing is computed but plans. */
export function keepForBytes(bytes: number, planAt: (keep: number) => Pick<Plan, "summary">, job: Pick<Job, "note">): number {
  const bytesAt = (keep: number) => planAt(keep).summary.bytesAfter;
  if (bytesAt(1) <= bytes) return 1;
  let [within, beyond] = [LEAST_KEEP, 1];
  while (beyond - within > EXACT) {
    const middle = Number(((within + beyond) / 2).toFixed(5));
    if (bytesAt(middle) <= bytes) within = middle;
    else beyond = middle;
  }
  // Last, for what smaller keeps need may not be measured yet.
  if (bytesAt(within) > bytes)
    throw new UsageError(
      `--target-bytes ${bytes}: the least that this model and allocation come to is ${bytesAt(within)}; ask for more`,
    );
  job.note(`--target-bytes ${bytes}: keep ${within} comes to ${bytesAt(within)}`);
  return within;
}

interface PerplexitySearch {
  readonly model: Model;
  readonly options: Options;
  readonly stored: StatisticsFolder | undefined;
  readonly planAt: (keep: number) => Plan;
  readonly job: Job;
}

/** The least keep, to a hundredth, whose model is at most this perplexed. No model is written. */
function keepForPerplexity(target: number, search: PerplexitySearch): number {
  const { model, options, stored, job } = search;
  const windows = options.targetText
    ? evaluationText(model, options.targetText, TEXT, job).windows
    : fewProbes(stored as StatisticsFolder);
  const dense = perplexity(model, windows, () => job.checkpoint()).perplexity;
  job.note(`--target-perplexity ${target}: the dense model has ${dense.toFixed(2)}`);
  if (dense > target)
    throw new UsageError(`--target-perplexity ${target}: the dense model has ${dense.toFixed(2)}; ask for more`);
  let [beyond, within] = [LEAST_KEEP, 1];
  for (let pass = 0; pass < PASSES; pass++) {
    const keeps = between(beyond, within);
    const measured = perplexitiesAt(search, windows, keeps);
    keeps.forEach((keep, i) => {
      job.note(`keep ${keep}: perplexity ${measured[i]?.toFixed(2)}`);
      if ((measured[i] as number) > target) beyond = Math.max(beyond, keep);
    });
    within = keeps.find((keep, i) => keep > beyond && (measured[i] as number) <= target) ?? within;
  }
  return within;
}

/** Keeps that divide the interval evenly, smallest first. */
function between(from: number, to: number): number[] {
  const keeps = Array.from({ length: AT_ONCE }, (_, i) => from + ((i + 1) * (to - from)) / (AT_ONCE + 1));
  return keeps.map((keep) => Number(keep.toFixed(4)));
}

function perplexitiesAt(search: PerplexitySearch, windows: readonly Uint32Array[], keeps: readonly number[]): number[] {
  const { model, options, stored, planAt, job } = search;
  const texts = [{ file: "target", sha256: "", tokens: 0, windows }];
  const cells = keeps.map((keep) => new CellMeasurement({ keep, plan: planAt(keep) }, { texts, tasks: [] }));
  const items = cells.flatMap((cell) => cell.items);
  runPass({ model, options, statistics: stored, items, job, stage: "target" });
  return cells.map((cell) => cell.scores().texts[0]?.perplexity as number);
}
