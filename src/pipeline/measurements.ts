/**
 * What allocators need to know of the modules: the calibration loss at every size, and one divergence of the predictions at
 * one size, each module replaced alone. Kept beside the statistics, so that another size costs no measuring.
 */
import { createHash } from "node:crypto";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Measured } from "../allocate/allocator.ts";
import { breakEvenRank } from "../allocate/size.ts";
import type { StatisticsFolder, StoredBlock } from "../calibrate/statistics-folder.ts";
import { UsageError } from "../errors.ts";
import { divergences } from "../evaluate/divergence.ts";
import { readJson } from "../formats/json.ts";
import { storage } from "../formats/storage.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Dense, Linear, ProjectionShape } from "../models/model.ts";
import { blockPrefix } from "../models/weights.ts";
import { scope } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { candidatesOf, type Measurements } from "./candidates.ts";
import type { Job } from "./job.ts";
import type { Options } from "./plan.ts";
import { narrowed, replacementAt } from "./replacement.ts";

/** Where on its way from nothing to break-even a projection is tried. */
const RANK_SHARE = 0.5;
/** Share of the channels an MLP is tried with. */
const WIDTH_SHARE = 0.7;

interface Curve {
  /** Squared calibration loss at size k, k = 0 ... */
  readonly losses: Float64Array;
  /** The size that is tried. */
  readonly at: number;
}

/** Measures every module, or reads what an earlier run with the same method measured. */
export function measureModules(model: Model, stored: StatisticsFolder, options: Options, job: Job): Measurements {
  const file = join(stored.path, `measurements-${measurementKey(options)}.json`);
  if (existsSync(file)) return parseMeasurements(readJson(file));
  const probes = stored.manifest.probes?.map((ids) => Uint32Array.from(ids)) ?? [];
  if (probes.length === 0)
    throw new UsageError(`--statistics ${stored.path}: holds no probe windows; calibrate again with this version`);
  const curves = new Map<string, Curve>();
  const variantsOf = (block: number, dense: BlockWeights) =>
    tryModules(model, stored.block(block), { block, dense, options, curves });
  const between = (block: number) => {
    job.checkpoint();
    job.progress({ stage: "measure", done: block, total: model.config.blocks, unit: "block" });
  };
  const measured = divergences(model, probes, variantsOf, between);
  saveMeasurements(file, curves, measured);
  return parseMeasurements(readJson(file));
}

/** What decides the measurements beside the statistics. */
function measurementKey({ method, nesting, alpha, scale, gamma, mu, center, include, exclude }: Options): string {
  const key = { version: VERSION, method, nesting, alpha, scale, gamma, mu, center, include, exclude };
  return createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 12);
}

interface Trial {
  readonly block: number;
  readonly dense: BlockWeights;
  readonly options: Options;
  /** Filled in by the way. */
  readonly curves: Map<string, Curve>;
}

/** The block's weights with one module replaced, for each of its modules. The caller's scope owns them. */
function tryModules(model: Model, sums: StoredBlock, trial: Trial): Map<string, BlockWeights> {
  const variants = new Map<string, BlockWeights>();
  const shapes = candidatesOf(model, trial.options).filter(({ block }) => block === trial.block);
  for (const site of new Set(shapes.map((shape) => shape.site))) {
    const statistics = sums.statistics(site, `block ${trial.block}`);
    for (const shape of shapes.filter((candidate) => candidate.site === site)) {
      variants.set(
        shape.name,
        withLayers(
          trial,
          scope(() => tryRank(shape, statistics, trial)),
        ),
      );
    }
    if (site === model.architecture.channels.site) {
      variants.set(
        channelKey(trial.block),
        withLayers(
          trial,
          scope(() => tryWidth(model, statistics, trial)),
        ),
      );
    }
  }
  sums.close();
  return variants;
}

type Statistics = ReturnType<StoredBlock["statistics"]>;

function withLayers({ dense }: Trial, layers: ReadonlyMap<string, Linear>): BlockWeights {
  return { vectors: dense.vectors, linears: new Map([...dense.linears, ...layers]) };
}

function tryRank(shape: ProjectionShape, statistics: Statistics, { block, dense, options, curves }: Trial): Map<string, Linear> {
  const name = shape.name.slice(blockPrefix(block).length);
  const layer = dense.linears.get(name) as Dense;
  const W = layer.weight.to("f64");
  const decomposition = methodNamed(options.method).decompose({ weight: W, statistics }, options);
  const rank = Math.max(1, Math.floor(RANK_SHARE * breakEvenRank(shape)));
  const spectrum = decomposition.losses ?? decomposition.outputSpectrum ?? new Float64Array();
  curves.set(shape.name, { losses: tailSums(spectrum), at: rank });
  return new Map([[name, replacementAt({ shape, dense: layer, W, statistics, decomposition }, rank, "f32").layer]]);
}

function tryWidth(model: Model, statistics: Statistics, { block, dense, curves }: Trial): Map<string, Linear> {
  const { reduction, layersAt } = narrowed(model, dense, statistics);
  const width = Math.max(1, Math.round(WIDTH_SHARE * reduction.order.length));
  curves.set(channelKey(block), { losses: tailSums(reduction.losses), at: width });
  return layersAt(width, "f32");
}

/** A block's MLP among the names of projections. */
const channelKey = (block: number) => `${blockPrefix(block)}mlp`;

/** tail[k] = sum of values from k on, for k = 0 ... length. */
function tailSums(values: Float64Array): Float64Array {
  const tail = new Float64Array(values.length + 1);
  for (let i = values.length - 1; i >= 0; i--) tail[i] = (tail[i + 1] as number) + Math.max(values[i] as number, 0);
  return tail;
}

function saveMeasurements(file: string, curves: ReadonlyMap<string, Curve>, measured: ReadonlyMap<string, number>): void {
  const modules = [...curves].map(([name, { losses, at }]) => [
    name,
    { at, divergence: measured.get(name), losses: [...losses] },
  ]);
  storage(file, () => {
    writeFileSync(`${file}.partial`, JSON.stringify(Object.fromEntries(modules)));
    renameSync(`${file}.partial`, file);
  });
}

function parseMeasurements(json: Record<string, unknown>): Measurements {
  const modules = Object.entries(json as Record<string, Measured & { losses: number[] }>).map(
    ([name, { at, divergence, losses }]) => {
      return [name, { losses: Float64Array.from(losses), measured: { at, divergence } }] as const;
    },
  );
  const block = (name: string) => Number(/^model\.layers\.(\d+)\.mlp$/.exec(name)?.[1] ?? Number.NaN);
  return {
    projections: new Map(modules.filter(([name]) => Number.isNaN(block(name)))),
    channels: new Map(modules.flatMap(([name, module]) => (Number.isNaN(block(name)) ? [] : [[block(name), module] as const]))),
  };
}
