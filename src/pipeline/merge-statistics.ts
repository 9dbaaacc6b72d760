/** `merge-statistics`: adds up the statistics of several texts, made apart: on several machines, or one after the other. */
import type { z } from "zod";
import { MOMENTS } from "../calibrate/statistics.ts";
import { StatisticsFolder, StatisticsWriter, type StoredBlock, type StoredSums } from "../calibrate/statistics-folder.ts";
import { mergeManifests } from "../calibrate/statistics-manifest.ts";
import { FormatError } from "../errors.ts";
import { scope, Tensor, vcat } from "../tensor/index.ts";
import { calibrateResult } from "./calibrate.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import type { mergeOptions } from "./sweep-options.ts";
import type { CalibrateResult } from "./sweep-results.ts";

export async function mergeStatistics({ folders, out }: z.output<typeof mergeOptions>, job: Job): Promise<CalibrateResult> {
  const elapsed = stopwatch();
  const parts = folders.map((folder) => StatisticsFolder.open(folder));
  const merged = parts.map(({ manifest }) => manifest).reduce(mergeManifests);
  const total = merged.files.length;
  const writer = new StatisticsWriter(out);
  try {
    for (let block = 0; block < total; block++) {
      job.checkpoint();
      job.progress({ stage: "merge", done: block, total, unit: "block" });
      const blocks = parts.map((part) => part.block(block));
      scope(() => writer.save(addBlocks(blocks, parts[1]?.path ?? "")));
      if (merged.gradients) scope(() => writer.saveGradients(block, addGradients(blocks)));
      for (const each of blocks) each.close();
    }
    const { files: _files, gradients: _gradients, ...manifest } = merged;
    return calibrateResult(out, writer.finish(manifest), elapsed());
  } catch (error) {
    writer.remove();
    throw error;
  }
}

function addBlocks(blocks: readonly StoredBlock[], path: string): Map<string, StoredSums> {
  const [first] = blocks as [StoredBlock, ...StoredBlock[]];
  const sums = first.sites.map((site): [string, StoredSums] => [
    site,
    scope(() => blocks.map((block) => block.sums(site)).reduce((a, b) => addSums(a, b, path))),
  ]);
  return new Map(sums);
}

/** Each text gave about as many tokens' gradients, so that all count alike. */
function addGradients(blocks: readonly StoredBlock[]): Map<string, Tensor> {
  const [first, ...others] = blocks.map((block) => block.gradientTriangles()) as [Map<string, Tensor>, ...Map<string, Tensor>[]];
  const total = (name: string, triangle: Tensor) =>
    others.reduce((sum, triangles) => sum.add((triangles.get(name) as Tensor).to("f64")), triangle.to("f64"));
  return new Map([...first].map(([name, triangle]) => [name, total(name, triangle)]));
}

function addSums(a: StoredSums, b: StoredSums, path: string): StoredSums {
  if (a.triangle.size !== b.triangle.size) throw new FormatError(path, "expected sums of the same widths, got others");
  return scope(() => ({ triangle: a.triangle.add(b.triangle), moments: addMoments(a.moments, b.moments) }));
}

/** Rows 0 and 1 are sums, row 2 the largest, the others those of batches, of which each text has its own. */
function addMoments(a: Tensor, b: Tensor): Tensor {
  const [x, y] = [a, b].map((moments) => moments.rowRange(0, MOMENTS).contiguous().toFloat64Array()) as [
    Float64Array,
    Float64Array,
  ];
  const sums = 2 * a.columns;
  const total = x.map((value, i) => (i < sums ? value + (y[i] as number) : Math.max(value, y[i] as number)));
  const batches = [a, b].filter(({ rows }) => rows > MOMENTS).map((moments) => moments.rowRange(MOMENTS, moments.rows));
  return vcat(Tensor.from(total, [MOMENTS, a.columns]), ...(batches.length === 2 ? batches : []));
}
