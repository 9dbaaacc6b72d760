/**
 * What allocators need to know of the modules: the calibration loss at every size, and the divergence of the predictions at a
 * few, each module replaced alone. Kept beside the statistics, so that another size costs no measuring.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Curve, Tries } from "../allocate/allocator.ts";
import { kindOf } from "../allocate/kind.ts";
import { kindsUsed, pilotsOf } from "../allocate/pilots.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import { breakEvenRank } from "../allocate/size.ts";
import type { StatisticsFolder, StoredBlock } from "../calibrate/statistics-folder.ts";
import { UsageError } from "../errors.ts";
import { blockInfluences } from "../evaluate/block-influence.ts";
import { divergences, type VariantsOf } from "../evaluate/divergence.ts";
import { secondOrderDivergences } from "../evaluate/second-order.ts";
import { methodOptions } from "../methods/method.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Dense, Linear, ModelConfig, Part, RopePairs } from "../models/model.ts";
import { holderFor } from "../models/streams.ts";
import { nameInBlock, readBlock } from "../models/weights.ts";
import { tailSums } from "../tail-sums.ts";
import { BYTES, scope } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { candidatesOf, type Measurements, offered, type PlacedProjection, partName, partsOf, targetOf } from "./candidates.ts";
import type { Job } from "./job.ts";
import { MeasurementJournal } from "./measurement-journal.ts";
import { RIDER_BYTES } from "./memory.ts";
import { narrowing } from "./narrower.ts";
import type { Options } from "./plan.ts";
import { decomposed, replacementAt } from "./replacement.ts";

/** Where modules are tried, unless the allocator says otherwise. */
const TRIED: Tries = { ranks: [0.5], widths: [0.7] };

/** Something that can be replaced: a projection by factors, or a part of a block by a narrower one. */
interface Module {
  readonly name: string;
  /** What it is called in every block: `up_proj`, `channels`. */
  readonly kind: string;
  readonly block: number;
  readonly site: string;
  readonly replaced: PlacedProjection | Part;
  /** Ranks or widths to try. */
  readonly sizes: readonly number[];
}

interface Measuring {
  readonly model: Model;
  readonly stored: StatisticsFolder;
  readonly options: Options;
  readonly job: Job;
}

/** Measures what the allocator asks for at a keep and no earlier run has measured, with the same method. */
export function measurementsOf(
  model: Model,
  stored: StatisticsFolder,
  options: Options,
  job: Job,
): (keep: number) => Measurements {
  const rule = allocatorNamed(options.allocate);
  if (rule.needs === "influences") {
    const influences = measureBlocks(model, stored, job);
    return () => influences;
  }
  const journal = MeasurementJournal.open(join(stored.path, `measurements-${measurementKey(options)}.jsonl`));
  const modules = modulesOf(model, options);
  const measuring = { model, stored, options, job };
  return (keep) => (rule.pilots ? piloted(measuring, journal, modules, keep) : measured(measuring, journal, modules));
}

/** What the pilot blocks say; and of the others, what those modules say whose kind the allocator uses there. */
function piloted(measuring: Measuring, journal: MeasurementJournal, modules: readonly Module[], keep: number): Measurements {
  const { model, options, job } = measuring;
  const pilots = pilotsOf([...new Set(modules.map(({ block }) => block))]);
  const tried = modules.filter(({ block }) => pilots.has(block));
  const candidates = offered(model, options, measured(measuring, journal, tried));
  const kinds = kindsUsed(allocatorNamed(options.allocate), candidates, pilots, targetOf({ ...options, keep }));
  const chosen = modules.filter(({ block, kind }) => pilots.has(block) || kinds.has(kind));
  if (chosen.some((module) => unmeasured(journal, module).length > 0))
    job.note(
      `${options.allocate}: blocks ${[...pilots].join(", ")} say that ${[...kinds].join(", ")} can give most in all blocks`,
    );
  return measured(measuring, journal, chosen);
}

/** What the journal knows of the modules, once what it lacks is measured. */
function measured(measuring: Measuring, journal: MeasurementJournal, modules: readonly Module[]): Measurements {
  const lacking = modules.flatMap((module) => unmeasured(journal, module));
  const passes = passesOf(measuring, lacking);
  for (const [i, pass] of passes.entries()) {
    const { losses, points } = measurePass(measuring, pass, `measure ${i + 1}/${passes.length}`);
    journal.add(losses, points);
  }
  const curves = modules.map(({ name, sizes }) => [name, journal.curve(name, sizes)] as const);
  return { curves: new Map(curves.filter((entry): entry is [string, Curve] => entry[1] !== undefined)) };
}

/** Blocks instead of modules: one forward pass. */
function measureBlocks(model: Model, stored: StatisticsFolder, job: Job): Measurements {
  const between = (block: number) => {
    job.checkpoint();
    job.progress({ stage: "measure", done: block, total: model.config.blocks, unit: "block" });
  };
  return { curves: new Map(), influences: blockInfluences(model, fewProbes(stored), between) };
}

/** What decides the measurements beside the statistics; defaults too, for they may change. */
export function measurementKey(options: Options): string {
  const { secondOrder } = allocatorNamed(options.allocate);
  const key = { version: VERSION, method: options.method, secondOrder, ...methodOptions(options) };
  return createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 12);
}

/** All that the allocator wants to know something of. */
function modulesOf(model: Model, options: Options): Module[] {
  const { needs, parts, tries = TRIED } = allocatorNamed(options.allocate);
  const factored = !methodNamed(options.method).parts;
  const { ranks, widths } = needs === "divergences" ? tries : { ranks: [], widths: [] };
  const shapes = candidatesOf(model, options);
  const projections = shapes.map((shape): Module => {
    return {
      ...shape,
      kind: kindOf(shape),
      replaced: shape,
      sizes: sizes(ranks, (share) => Math.floor(share * breakEvenRank(shape))),
    };
  });
  const blocks = [...new Set(shapes.map(({ block }) => block))];
  const narrower = blocks.flatMap((block) => {
    const own = partsOf(
      model,
      shapes.filter((shape) => shape.block === block),
    );
    return own.map(({ part, site, width, step }): Module => {
      const tried = sizes(widths, (share) => Math.round((share * width) / step) * step);
      return { name: partName(block, part), kind: part, block, site, replaced: part, sizes: tried };
    });
  });
  return [...(factored ? projections : []), ...(!factored || parts === "beside" ? narrower : [])];
}

/** The different sizes that the shares make, none below 1. */
function sizes(shares: readonly number[], sizeOf: (share: number) => number): number[] {
  return [...new Set(shares.map((share) => Math.max(1, sizeOf(share))))];
}

/** The module with the sizes that are still to be tried; none where all is known. */
function unmeasured(journal: MeasurementJournal, module: Module): Module[] {
  const known = journal.curve(module.name, module.sizes);
  const sizes = module.sizes.filter((size) => !known?.measured.some(({ at }) => at === size));
  return known && sizes.length === 0 ? [] : [{ ...module, sizes }];
}

/** Cuts what is to be measured into passes over the blocks whose riders fit in memory, whole blocks each. */
function passesOf({ model: { config }, stored, options }: Measuring, modules: readonly Module[]): Module[][] {
  const rides = !allocatorNamed(options.allocate).secondOrder && modules.some(({ sizes }) => sizes.length > 0);
  const most = rides ? mostRiders(config, fewProbes(stored)) : Number.POSITIVE_INFINITY;
  const passes: Module[][] = [];
  for (let block = 0; block < config.blocks; block++) {
    const own = modules.filter((module) => module.block === block);
    const riders = [...(passes.at(-1) ?? []), ...own].reduce((sum, module) => sum + module.sizes.length, 0);
    if (passes.length > 0 && riders <= most) passes.at(-1)?.push(...own);
    else if (own.length > 0) passes.push(own);
  }
  return passes;
}

function mostRiders({ hiddenSize }: ModelConfig, windows: readonly Uint32Array[]): number {
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  return Math.floor(RIDER_BYTES / (tokens * hiddenSize * BYTES.f32));
}

function measurePass(measuring: Measuring, modules: readonly Module[], stage: string) {
  const losses = new Map<string, Float64Array>();
  const variantsOf = (block: number, dense: BlockWeights) => {
    const own = modules.filter((module) => module.block === block);
    return own.length > 0 ? tryModules(measuring, own, { block, dense, losses }) : new Map<string, BlockWeights>();
  };
  const tries = modules.flatMap(({ name, sizes }) => sizes.map((at) => ({ module: name, at })));
  const found = divergencesOf(measuring, tries.length, variantsOf, stage);
  const points = tries.map((tried) => ({ ...tried, divergence: found.get(variantKey(tried.module, tried.at)) as number }));
  return { losses, points };
}

/** By variant, in the way that the allocator asks for. */
function divergencesOf({ model, stored, options, job }: Measuring, tries: number, variantsOf: VariantsOf, stage: string) {
  const { blocks } = model.config;
  const at = (done: number, total: number, unit: string) => {
    job.checkpoint();
    job.progress({ stage, done, total, unit });
  };
  const between = (block: number) => at(block, blocks, "block");
  if (tries === 0) {
    lossesAlone(model, variantsOf, between);
    return new Map<string, number>();
  }
  if (!allocatorNamed(options.allocate).secondOrder) return divergences(model, fewProbes(stored), variantsOf, between);
  const holder = holderFor("disk", join(stored.path, "activations.partial"));
  try {
    return secondOrderDivergences(model, {
      ...{ windows: probeWindows(stored), holder, variantsOf },
      between: (step, steps) => at(step, steps, "step"),
    });
  } finally {
    holder.close();
  }
}

/** Without a forward pass, for allocators that need no divergence. */
function lossesAlone(model: Model, variantsOf: VariantsOf, between: (block: number) => void): void {
  for (let block = 0; block < model.config.blocks; block++) {
    between(block);
    scope(() => {
      variantsOf(block, readBlock(model.checkpoint, model.architecture, model.config, block));
    });
  }
}

/** @throws UsageError when the statistics hold none. */
export function probeWindows({ path, manifest }: StatisticsFolder): Uint32Array[] {
  const probes = manifest.probes?.map((ids) => Uint32Array.from(ids)) ?? [];
  if (probes.length > 0) return probes;
  throw new UsageError(`--statistics ${path}: holds no probe windows; calibrate again with this version`);
}

/** Half of them, evenly spread, where the whole model runs again for every replacement. */
export const fewProbes = (stored: StatisticsFolder) => probeWindows(stored).filter((_, i) => i % 2 === 0);

/** A module at one size. */
const variantKey = (module: string, size: number) => `${module}@${size}`;

interface BlockTask {
  readonly block: number;
  readonly dense: BlockWeights;
  /** Filled in by the way: squared loss at size k, k = 0 ... */
  readonly losses: Map<string, Float64Array>;
}

type Statistics = ReturnType<StoredBlock["statistics"]>;

/** Replaced layers by their name in the block, and the rotary pairs that heads keep. */
interface Variant {
  readonly layers: ReadonlyMap<string, Linear>;
  readonly ropePairs?: RopePairs;
}

/** The block's weights with one module replaced, for each size of each of the modules. The caller's scope owns them. */
function tryModules(measuring: Measuring, modules: readonly Module[], task: BlockTask): Map<string, BlockWeights> {
  const variants = new Map<string, BlockWeights>();
  const sums = measuring.stored.block(task.block);
  try {
    for (const site of new Set(modules.map((module) => module.site))) {
      const statistics = sums.statistics(site, `block ${task.block}`);
      for (const module of modules.filter((each) => each.site === site)) {
        const tried = scope(() => tryModule(measuring, module, statistics, task));
        for (const [size, variant] of tried) variants.set(variantKey(module.name, size), withVariant(task, variant));
      }
    }
    return variants;
  } finally {
    sums.close();
  }
}

function withVariant({ dense }: BlockTask, { layers, ropePairs }: Variant): BlockWeights {
  return { vectors: dense.vectors, linears: new Map([...dense.linears, ...layers]), ropePairs };
}

/** The module at each of its sizes. */
function tryModule(measuring: Measuring, module: Module, statistics: Statistics, task: BlockTask): Map<number, Variant> {
  const { replaced } = module;
  const { losses, at } =
    typeof replaced === "string"
      ? narrower(measuring, replaced, statistics, task)
      : lowRank(measuring.options, replaced, statistics, task);
  task.losses.set(module.name, losses);
  return new Map(module.sizes.map((size) => [size, at(size)]));
}

/** A module's squared loss at size k, k = 0 ..., and what takes its place at any size. */
interface Tried {
  readonly losses: Float64Array;
  at(size: number): Variant;
}

function lowRank(options: Options, shape: PlacedProjection, statistics: Statistics, { dense }: BlockTask): Tried {
  const name = nameInBlock(shape.name);
  const layer = dense.linears.get(name) as Dense;
  const made = decomposed({ method: methodNamed(options.method), options }, shape, layer, statistics);
  const { decomposition } = made;
  return {
    losses: tailSums(decomposition.losses ?? decomposition.outputSpectrum ?? new Float64Array()),
    at: (rank) => ({ layers: new Map([[name, replacementAt(made, rank, "f32").layer]]) }),
  };
}

function narrower({ model, options }: Measuring, part: Part, statistics: Statistics, { dense: weights }: BlockTask): Tried {
  const method = methodNamed(options.method);
  const { losses, at } = narrowing(part, { model, weights, statistics, options, method });
  return { losses, at: (width) => at(width, "f32") };
}
