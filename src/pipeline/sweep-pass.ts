/**
 * One pass over the blocks for several cells of one method: each projection is decomposed once and gives the factors of every
 * keep, and the windows of every cell go through the block that its factors make. What is measured is what `compress` would
 * have written: factors, and all other weights too, are rounded to the written dtype.
 */
import type { SiteStatistics } from "../calibrate/statistics.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import type { InputStatistics, MethodOptions } from "../methods/method.ts";
import { advanceBatches, type Batch, disposeBatches, type Head, readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Dense, Linear, LowRank, Part, PartShape, ProjectionShape, RopePairs } from "../models/model.ts";
import { nameInBlock, readBlock } from "../models/weights.ts";
import { type DType, scope } from "../tensor/index.ts";
import type { Job } from "./job.ts";
import { type NarrowerPart, narrowerPart, narrowing } from "./narrower.ts";
import type { Plan } from "./plan.ts";
import { decomposed, replacementAt, rounded } from "./replacement.ts";
import type { ProjectionReport } from "./results.ts";
import type { Spectrum } from "./sweep-results.ts";

/** One method at one keep. */
export interface CellPlan {
  readonly keep: number;
  readonly plan: Plan;
}

/** What is measured in one cell by running rows through its blocks: some windows of a text, or questions of a task. */
export interface PassItem {
  readonly cell: CellPlan;
  /** Rows. */
  readonly tokens: number;
  /** The rows where the blocks begin. The caller disposes of the batches. */
  embed(model: Model): Batch[];
  /** Takes what it measures from the last block's output. */
  read(model: Model, head: Head, batches: readonly Batch[]): void;
}

export interface PassTask {
  readonly model: Model;
  readonly options: MethodOptions;
  readonly statistics: StatisticsFolder | undefined;
  readonly items: readonly PassItem[];
  readonly job: Job;
  /** For progress. */
  readonly stage: string;
}

export interface PassResult {
  readonly reports: ReadonlyMap<CellPlan, readonly ProjectionReport[]>;
  readonly spectra: readonly Spectrum[];
}

/** An item on its way through the blocks. */
interface Moving {
  readonly item: PassItem;
  readonly batches: readonly Batch[];
}

interface Pass extends PassTask {
  /** The model as it is written. */
  readonly written: Model;
  readonly cells: readonly CellPlan[];
  readonly reports: ReadonlyMap<CellPlan, ProjectionReport[]>;
  readonly spectra: Spectrum[];
}

export function runPass(task: PassTask): PassResult {
  const cells = [...new Set(task.items.map(({ cell }) => cell))];
  const { dtype } = (cells[0] as CellPlan).plan;
  const reports = new Map(cells.map((cell): [CellPlan, ProjectionReport[]] => [cell, []]));
  const pass: Pass = { ...task, written: writtenModel(task.model, dtype), cells, reports, spectra: [] };
  const moving: Moving[] = [];
  try {
    for (const item of task.items) moving.push({ item, batches: item.embed(pass.written) });
    for (let block = 0; block < task.model.config.blocks; block++) {
      task.job.progress({ stage: task.stage, done: block, total: task.model.config.blocks, unit: "block" });
      scope(() => advanceThrough(pass, block, moving));
    }
    readItems(pass, moving);
    return { reports, spectra: pass.spectra };
  } finally {
    for (const { batches } of moving) disposeBatches(batches);
  }
}

/** The model with the weights that are left after writing. */
function writtenModel(model: Model, dtype: DType): Model {
  const { checkpoint } = model;
  const read = (name: string) => scope(() => rounded(checkpoint.read(name), dtype));
  return { ...model, checkpoint: { tensors: checkpoint.tensors, read, close: () => checkpoint.close() } };
}

function readItems({ written, job }: Pass, moving: readonly Moving[]): void {
  scope(() => {
    const head = readHead(written);
    for (const { item, batches } of moving) {
      job.checkpoint();
      scope(() => item.read(written, head, batches));
    }
  });
}

function advanceThrough(pass: Pass, block: number, moving: readonly Moving[]): void {
  const factored = factorBlock(pass, block);
  const rest = readBlock(pass.written.checkpoint, pass.model.architecture, pass.model.config, block);
  for (const { item, batches } of moving) {
    const { linears = [], ropePairs } = factored.get(item.cell) ?? {};
    const weights: BlockWeights = { ...rest, linears: new Map<string, Linear>([...rest.linears, ...linears]), ropePairs };
    advanceBatches(pass.written, batches, weights, block, { between: pass.job.checkpoint });
  }
}

/** The new layers of each cell, by their names in the block, and the rotary pairs that its heads keep. */
type Factored = ReadonlyMap<CellPlan, { readonly linears: Map<string, Linear>; ropePairs?: RopePairs }>;

function factorBlock(pass: Pass, block: number): Factored {
  const { model, statistics } = pass;
  const stored = statistics?.block(block);
  const factored: Factored = new Map(pass.cells.map((cell) => [cell, { linears: new Map() }]));
  const shapes = model.architecture.projections(model.config, block);
  try {
    return scope(() => {
      const dense = readBlock(model.checkpoint, model.architecture, model.config, block);
      for (const site of new Set(shapes.map((shape) => shape.site))) {
        const reading = shapes.filter((shape) => shape.site === site && ranksOf(pass, shape).size > 0);
        const parts = model.architecture.parts(model.config).filter((shape) => shape.site === site);
        const narrower = parts.filter(({ part }) => pass.cells.some(({ plan }) => plan.widths.get(block)?.[part] !== undefined));
        const task = { block, site, reading, narrower, dense, stored, factored };
        if (reading.length + narrower.length > 0) scope(() => replaceAtSite(pass, task));
      }
      return factored;
    });
  } finally {
    stored?.close();
  }
}

interface SiteTask {
  readonly block: number;
  readonly site: string;
  /** The projections that read the site and are factored in some cell. */
  readonly reading: readonly ProjectionShape[];
  /** The parts made from the site's statistics that get narrower in some cell. */
  readonly narrower: readonly PartShape[];
  readonly dense: BlockWeights;
  readonly stored: SiteStatistics | undefined;
  readonly factored: Factored;
}

/** Returns what it made, so that the scope around keeps it. */
function replaceAtSite(pass: Pass, { block, site, reading, narrower, dense, stored, factored }: SiteTask): Linear[] {
  const statistics = stored?.statistics(site, `block ${block}`);
  const made: Linear[] = [];
  const put = (cell: CellPlan, name: string, layer: Linear) => {
    factored.get(cell)?.linears.set(name, layer);
    made.push(layer);
  };
  for (const shape of reading) {
    pass.job.checkpoint();
    const name = nameInBlock(shape.name);
    const layers = scope(() => factorProjection(pass, shape, dense.linears.get(name) as Dense, statistics));
    for (const [cell, layer] of layers) put(cell, name, layer);
  }
  for (const { part } of narrower) {
    pass.job.checkpoint();
    const parts = scope(() => narrowPart(pass, part, { block, dense, statistics: statistics as InputStatistics }));
    for (const [cell, { layers, ropePairs }] of parts) {
      Object.assign(factored.get(cell) ?? {}, ropePairs ? { ropePairs } : {});
      for (const [name, layer] of layers) put(cell, name, layer);
    }
  }
  return made;
}

interface PartTask {
  readonly block: number;
  readonly dense: BlockWeights;
  readonly statistics: InputStatistics;
}

/** The part in every cell that makes it narrower, as it is written. */
function narrowPart(pass: Pass, part: Part, { block, dense: weights, statistics }: PartTask): Map<CellPlan, NarrowerPart> {
  const { model, options, reports } = pass;
  const { method } = (pass.cells[0] as CellPlan).plan;
  const narrowed = narrowing(part, { model, weights, statistics, options, method });
  const made = pass.cells.flatMap((cell): [CellPlan, NarrowerPart][] => {
    const width = cell.plan.widths.get(block)?.[part];
    if (width === undefined) return [];
    const { dtype } = cell.plan;
    const narrower = narrowerPart(model, narrowed, { block, part, width, dtype });
    reports.get(cell)?.push(...narrower.reports);
    const written = [...narrower.layers].map(([name, layer]) => [name, asWritten(layer, dtype)] as const);
    return [[cell, { ...narrower, layers: new Map(written) }]];
  });
  return new Map(made);
}

function asWritten({ weight, bias }: Dense, dtype: DType): Dense {
  return { weight: rounded(weight, dtype), ...(bias ? { bias: rounded(bias, dtype) } : {}) };
}

/** The rank of a projection in each cell that factors it. */
function ranksOf({ cells }: Pass, { name }: ProjectionShape): Map<CellPlan, number> {
  const ranks = cells.map((cell): [CellPlan, number | undefined] => [cell, cell.plan.ranks.get(name)]);
  return new Map(ranks.filter((entry): entry is [CellPlan, number] => entry[1] !== undefined));
}

function factorProjection(
  pass: Pass,
  shape: ProjectionShape,
  dense: Dense,
  statistics: InputStatistics | undefined,
): Map<CellPlan, LowRank> {
  const { method, dtype } = (pass.cells[0] as CellPlan).plan;
  const made = decomposed({ method, options: pass.options }, shape, dense, statistics);
  const losses = made.decomposition.losses ?? made.decomposition.outputSpectrum;
  if (losses) pass.spectra.push({ method: method.name, name: shape.name, rank: losses.length, retained: retained(losses) });
  const layers = [...ranksOf(pass, shape)].map(([cell, rank]): [CellPlan, LowRank] => {
    const { layer, report } = scope(() => replacementAt(made, rank, dtype));
    pass.reports.get(cell)?.push(report);
    return [cell, withWrittenBias(layer, dtype)];
  });
  return new Map(layers);
}

/** A bias is rounded after what the method adds to it. */
function withWrittenBias(layer: LowRank, dtype: DType): LowRank {
  return layer.bias ? { ...layer, bias: rounded(layer.bias, dtype) } : layer;
}

/** Points of a curve, its first and last included. */
const POINTS = 33;

/** Shares of the total that the first k of `losses` hold, k evenly spread from 0 to all. */
function retained(losses: Float64Array): number[] {
  const sums = [0];
  for (const loss of losses) sums.push((sums.at(-1) as number) + Math.max(0, loss));
  const total = sums.at(-1) as number;
  return Array.from({ length: POINTS }, (_, i) => {
    const k = Math.round((i * losses.length) / (POINTS - 1));
    return total > 0 ? Number(((sums[k] as number) / total).toFixed(4)) : 1;
  });
}
