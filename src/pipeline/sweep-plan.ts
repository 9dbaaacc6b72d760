/** What a sweep will measure: a plan for each method and keep, and the passes that fit in memory. */
import { allocatorNamed } from "../allocate/registry.ts";
import { uniform } from "../allocate/uniform.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { UsageError } from "../errors.ts";
import { methodOptions } from "../methods/method.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import { BYTES } from "../tensor/index.ts";
import { allocationsOf } from "./allocation.ts";
import { checkPair } from "./candidates.ts";
import type { Job } from "./job.ts";
import { planMemory, refuseAbove } from "./memory.ts";
import { compressOptions, parseOptions } from "./options.ts";
import { type Options as CompressOptions, planCompression, workOf } from "./plan.ts";
import { checkBothModels } from "./stored-statistics.ts";
import type { SweepSettings } from "./sweep-options.ts";
import type { CellPlan, PassItem } from "./sweep-pass.ts";

/** Residual streams and factors of one pass, when the user sets no --memory. */
const PASS_BYTES = 2e9;

/** The options of the `compress` that makes one cell's model. */
export function cellOptions(options: SweepSettings, method: string, keep: number): CompressOptions {
  const { allocate, trials, depthGroups, seed, dtype, rankMultiple } = options;
  const parsed = parseOptions(compressOptions, {
    ...{ model: options.model, out: `${options.out}/models/${method}@${keep}`, method, propagate: "original" },
    ...{ allocate, trials, depthGroups, seed, ...methodOptions(options), dtype, rankMultiple },
    ...{ include: options.include, exclude: options.exclude },
    ...{ samples: options.samples, window: options.calibrationWindow, threads: options.threads },
  });
  return { ...parsed, method, allocate, recipe: "a cell of a sweep", keep };
}

/** @throws UsageError on unknown methods and allocators, or when one needs a calibration that was not given. */
export function checkSweep({ methods, allocate, statistics, calibration }: SweepSettings): void {
  for (const method of methods) {
    checkPair(method, allocate);
    checkBothModels(method, "sweep");
  }
  const measuring = methods.find((method) => methodNamed(method).needs.length > 0);
  if (statistics !== undefined && calibration.length > 0)
    throw new UsageError("--statistics stands for the sums of a text; give it or --calibration, not both");
  if (statistics !== undefined || calibration.length > 0) return;
  const who = allocatorNamed(allocate).needs === "shapes" ? measuring : `--allocate ${allocate}`;
  if (who !== undefined) throw new UsageError(`${who} measures activations: give a text with --calibration, or --statistics DIR`);
}

/** The largest cell of the first method, from shapes alone: for what every cell shares, before anything is measured. */
export function largestCell(model: Model, options: SweepSettings): CellPlan {
  const keep = Math.max(...options.keeps);
  const allocate = allocatorNamed(options.allocate).needs === "shapes" ? options.allocate : "uniform";
  const plain = { ...cellOptions(options, options.methods[0] as string, keep), allocate };
  return { keep, plan: planCompression(model, plain) };
}

/** A plan for every keep of one method. */
export function planCells(
  model: Model,
  options: SweepSettings,
  method: string,
  stored: StatisticsFolder | undefined,
  job: Job,
): CellPlan[] {
  const allocationAt = allocationsOf(model, cellOptions(options, method, 1), stored, job);
  return [...new Set(options.keeps)].map((keep) => {
    return { keep, plan: planCompression(model, cellOptions(options, method, keep), allocationAt(keep)) };
  });
}

export interface WrittenCell {
  readonly method: string;
  readonly keep: number;
}

/** `svd-llm@0.8` as a cell of the sweep. @throws UsageError when it is none. */
export function writtenCells({ write, methods, keeps }: SweepSettings): WrittenCell[] {
  return write.map((cell) => {
    const at = cell.lastIndexOf("@");
    const [method, keep] = [cell.slice(0, at), Number(cell.slice(at + 1))];
    if (at > 0 && methods.includes(method) && keeps.includes(keep)) return { method, keep };
    throw new UsageError(
      `--write ${cell}: is no cell of this sweep; write a method and a keep of it, such as ${methods[0]}@${keeps[0]}`,
    );
  });
}

/** Cuts the items into passes that stay within the memory. @throws MemoryError when not even one fits. */
export function passes(model: Model, items: readonly PassItem[], { memoryBytes }: SweepSettings): PassItem[][] {
  const budget = memoryBytes === undefined ? PASS_BYTES : memoryBytes - baseBytes(model, items);
  const made: PassItem[][] = [];
  let left = 0;
  for (const item of items) {
    const current = made.at(-1);
    const isNewCell = !current?.some(({ cell }) => cell === item.cell);
    const cost = streamBytes(model, item) + (isNewCell ? layerBytes(model, item.cell) : 0);
    if (current && cost <= left) current.push(item);
    else made.push([item]);
    left = current && cost <= left ? left - cost : budget - streamBytes(model, item) - layerBytes(model, item.cell);
    if (left < 0 && memoryBytes !== undefined)
      refuseAbove(memoryBytes, memoryBytes - left, "the sweep", "--max-windows, --window or --limit");
  }
  return made;
}

/** What a pass takes beside its streams and factors: a compression of a single short window. */
function baseBytes(model: Model, [item]: readonly PassItem[]): number {
  if (!item) return 0;
  const given = { samples: 1, window: 2, statistics: undefined, calibration: undefined, allocate: uniform.name };
  return planMemory(model, { ...workOf(item.cell.plan, given), gradients: false }).peakBytes;
}

function streamBytes({ config }: Model, { tokens }: PassItem): number {
  return tokens * config.hiddenSize * BYTES.f32;
}

/** The factors of one block. */
function layerBytes({ config }: Model, { plan: { summary } }: CellPlan): number {
  const values = summary.projections.reduce((sum, { rows, columns, rank }) => sum + (rank ?? 0) * (rows + columns), 0);
  return (values / config.blocks) * BYTES.f32;
}
