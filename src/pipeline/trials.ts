/**
 * Whole allocations measured: the model they make from the statistics, as it would be written, against the dense one on the
 * probe windows. Each is a line of a journal beside the statistics, so that a killed search continues with what it knew.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Allocation, Trial, Trials } from "../allocate/allocator.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { compare } from "../evaluate/divergence.ts";
import { parseJson } from "../formats/json.ts";
import { readTextFile } from "../formats/json-lines.ts";
import { storage } from "../formats/storage.ts";
import { disposeBatches, embedWindows, forwardWindows } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import type { Job } from "./job.ts";
import { fewProbes, measurementKey } from "./measurements.ts";
import { type Options, planCompression } from "./plan.ts";
import { type PassItem, runPass } from "./sweep-pass.ts";

/** One trial as it is written. */
interface Line {
  /** The search that asked for it. */
  readonly search: string;
  readonly allocation: string;
  readonly divergence: number;
}

/**
 * The trials of one search: the same options see the same trials before them, however often it was killed.
 * Trials of other searches that were written after this one began are left out.
 */
export function trialsOf(model: Model, stored: StatisticsFolder, options: Options, job: Job): Trials {
  const file = join(stored.path, `trials-${measurementKey(options)}.jsonl`);
  const search = searchKey(options);
  const lines = readLines(file);
  const begun = lines.findIndex((line) => line.search === search);
  const earlier = lines.slice(0, begun < 0 ? undefined : begun);
  const measure = (allocations: readonly Allocation[]) => {
    const unknown = allocations.filter((allocation) => !find(lines, search, allocation));
    if (unknown.length > 0) {
      const divergences = measureAllocations({ model, stored, options, job }, unknown);
      unknown.forEach((allocation, i) => {
        lines.push({ search, allocation: written(allocation), divergence: divergences[i] as number });
      });
      const fresh = lines.slice(-unknown.length);
      storage(file, () => appendFileSync(file, fresh.map((line) => `${JSON.stringify(line)}\n`).join("")));
    }
    return allocations.map((allocation) => find(lines, search, allocation) as number);
  };
  return {
    earlier: earlier.map(({ allocation, divergence }): Trial => ({ allocation: parsed(allocation), divergence })),
    measure,
  };
}

/** All that decides which trials a search asks for. */
function searchKey({ allocate, keep, rankMultiple, trials, depthGroups, seed, include, exclude, dtype }: Options): string {
  const key = { allocate, keep, rankMultiple, trials, depthGroups, seed, include, exclude, dtype };
  return createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 12);
}

function find(lines: readonly Line[], search: string, allocation: Allocation): number | undefined {
  const text = written(allocation);
  return lines.find((line) => line.search === search && line.allocation === text)?.divergence;
}

function written({ ranks, widths }: Allocation): string {
  return JSON.stringify({ ranks: [...ranks], widths: [...widths] });
}

function parsed(allocation: string): Allocation {
  const { ranks, widths } = JSON.parse(allocation);
  return { ranks: new Map(ranks), widths: new Map(widths) };
}

/** Whole lines alone: a kill may leave half of the last. */
function readLines(file: string): Line[] {
  if (!existsSync(file)) return [];
  const whole = readTextFile(file).split("\n").slice(0, -1);
  storage(file, () => writeFileSync(file, whole.map((text) => `${text}\n`).join("")));
  return whole.map((text) => parseJson(file, text) as unknown as Line);
}

interface Measuring {
  readonly model: Model;
  readonly stored: StatisticsFolder;
  readonly options: Options;
  readonly job: Job;
}

/** The mean divergence of each model over the probe windows. */
function measureAllocations({ model, stored, options, job }: Measuring, allocations: readonly Allocation[]): readonly number[] {
  const windows = fewProbes(stored);
  const dense = forwardWindows(model, windows, job.checkpoint);
  const divergences: number[] = [];
  const items = allocations.map((allocation, i): PassItem => {
    return {
      cell: { keep: options.keep, plan: planCompression(model, options, allocation) },
      tokens: windows.reduce((sum, window) => sum + window.length, 0),
      embed: (written) => embedWindows(written, windows),
      read: (written, _head, batches) => {
        divergences[i] = compare(written, dense, new Map([["trial", [...batches]]])).get("trial") as number;
      },
    };
  });
  try {
    runPass({ model, options, statistics: stored, items, job, stage: `try ${allocations.length} allocations` });
    return divergences;
  } finally {
    disposeBatches(dense);
  }
}
