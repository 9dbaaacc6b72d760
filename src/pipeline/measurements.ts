/**
 * What allocators need to know of the modules: the calibration loss at every size, and the divergence of the predictions at a
 * few, each module replaced alone. Kept beside the statistics, so that another size costs no measuring.
 */
import { createHash } from "node:crypto";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Curve } from "../allocate/allocator.ts";
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

/** Where modules are tried. */
const TRIED = {
  /** Shares of a projection's break-even rank. */
  ranks: [0.5],
  /** Shares of an MLP's channels. */
  widths: [0.7],
} as const;

/** By module: its losses at size k, k = 0 ... */
type Losses = Map<string, Float64Array>;

/** Measures every module, or reads what an earlier run with the same method measured. */
export function measureModules(model: Model, stored: StatisticsFolder, options: Options, job: Job): Measurements {
  const file = join(stored.path, `measurements-${measurementKey(options)}.json`);
  if (existsSync(file)) return parseMeasurements(readJson(file));
  const probes = stored.manifest.probes?.map((ids) => Uint32Array.from(ids)) ?? [];
  if (probes.length === 0)
    throw new UsageError(`--statistics ${stored.path}: holds no probe windows; calibrate again with this version`);
  const losses: Losses = new Map();
  const variantsOf = (block: number, dense: BlockWeights) =>
    tryModules(model, stored.block(block), { block, dense, options, losses });
  const between = (block: number) => {
    job.checkpoint();
    job.progress({ stage: "measure", done: block, total: model.config.blocks, unit: "block" });
  };
  const measured = divergences(model, probes, variantsOf, between);
  saveMeasurements(file, losses, measured);
  return parseMeasurements(readJson(file));
}

/** What decides the measurements beside the statistics. */
function measurementKey({ method, nesting, alpha, scale, gamma, mu, center, include, exclude }: Options): string {
  const key = { version: VERSION, tried: TRIED, method, nesting, alpha, scale, gamma, mu, center, include, exclude };
  return createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 12);
}

interface Trial {
  readonly block: number;
  readonly dense: BlockWeights;
  readonly options: Options;
  /** Filled in by the way. */
  readonly losses: Losses;
}

/** Replaced layers, by their name in the block. */
type Layers = ReadonlyMap<string, Linear>;

/** The block's weights with one module replaced, for each size of each of its modules. The caller's scope owns them. */
function tryModules(model: Model, sums: StoredBlock, trial: Trial): Map<string, BlockWeights> {
  const variants = new Map<string, BlockWeights>();
  const add = (module: string, tried: ReadonlyMap<number, Layers>) => {
    for (const [size, layers] of tried) variants.set(variantKey(module, size), withLayers(trial, layers));
  };
  const shapes = candidatesOf(model, trial.options).filter(({ block }) => block === trial.block);
  for (const site of new Set(shapes.map((shape) => shape.site))) {
    const statistics = sums.statistics(site, `block ${trial.block}`);
    for (const shape of shapes.filter((candidate) => candidate.site === site)) {
      const tried = scope(() => tryRanks(shape, statistics, trial));
      add(shape.name, tried);
    }
    if (site === model.architecture.channels.site) {
      const tried = scope(() => tryWidths(model, statistics, trial));
      add(channelKey(trial.block), tried);
    }
  }
  sums.close();
  return variants;
}

type Statistics = ReturnType<StoredBlock["statistics"]>;

function withLayers({ dense }: Trial, layers: Layers): BlockWeights {
  return { vectors: dense.vectors, linears: new Map([...dense.linears, ...layers]) };
}

function tryRanks(shape: ProjectionShape, statistics: Statistics, { block, dense, options, losses }: Trial): Map<number, Layers> {
  const name = shape.name.slice(blockPrefix(block).length);
  const layer = dense.linears.get(name) as Dense;
  const W = layer.weight.to("f64");
  const decomposition = methodNamed(options.method).decompose({ weight: W, statistics }, options);
  losses.set(shape.name, tailSums(decomposition.losses ?? decomposition.outputSpectrum ?? new Float64Array()));
  const ranks = sizes(TRIED.ranks, (share) => Math.floor(share * breakEvenRank(shape)));
  const decomposed = { shape, dense: layer, W, statistics, decomposition };
  return new Map(ranks.map((rank) => [rank, new Map([[name, replacementAt(decomposed, rank, "f32").layer]])]));
}

function tryWidths(model: Model, statistics: Statistics, { block, dense, losses }: Trial): Map<number, Layers> {
  const { reduction, layersAt } = narrowed(model, dense, statistics);
  losses.set(channelKey(block), tailSums(reduction.losses));
  const widths = sizes(TRIED.widths, (share) => Math.round(share * reduction.order.length));
  return new Map(widths.map((width) => [width, layersAt(width, "f32")]));
}

/** The different sizes that the shares make, none below 1. */
function sizes(shares: readonly number[], sizeOf: (share: number) => number): number[] {
  return [...new Set(shares.map((share) => Math.max(1, sizeOf(share))))];
}

/** A block's MLP among the names of projections. */
const channelKey = (block: number) => `${blockPrefix(block)}mlp`;

/** A module at one size; `@` is in no tensor's name. */
const variantKey = (module: string, size: number) => `${module}@${size}`;

/** tail[k] = sum of values from k on, for k = 0 ... length. */
function tailSums(values: Float64Array): Float64Array {
  const tail = new Float64Array(values.length + 1);
  for (let i = values.length - 1; i >= 0; i--) tail[i] = (tail[i + 1] as number) + Math.max(values[i] as number, 0);
  return tail;
}

function saveMeasurements(file: string, losses: Losses, measured: ReadonlyMap<string, number>): void {
  const points = [...measured].map(([variant, divergence]) => {
    const [module = "", at] = variant.split("@");
    return { module, at: Number(at), divergence };
  });
  const modules = [...losses].map(([name, values]) => {
    const own = points.filter(({ module }) => module === name).map(({ at, divergence }) => ({ at, divergence }));
    return [name, { measured: own, losses: [...values] }];
  });
  storage(file, () => {
    writeFileSync(`${file}.partial`, JSON.stringify(Object.fromEntries(modules)));
    renameSync(`${file}.partial`, file);
  });
}

function parseMeasurements(json: Record<string, unknown>): Measurements {
  const modules = Object.entries(json as Record<string, Curve>).map(([name, { measured, losses }]) => {
    return [name, { losses: Float64Array.from(losses), measured }] as const;
  });
  const block = (name: string) => Number(/^model\.layers\.(\d+)\.mlp$/.exec(name)?.[1] ?? Number.NaN);
  return {
    projections: new Map(modules.filter(([name]) => Number.isNaN(block(name)))),
    channels: new Map(modules.flatMap(([name, module]) => (Number.isNaN(block(name)) ? [] : [[block(name), module] as const]))),
  };
}
