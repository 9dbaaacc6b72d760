/**
 * One block: run calibration text through it, sum the statistics of its sites, replace its projections by factors.
 * With `original` propagation all sites see the dense model's activations, in one forward pass. With `compressed` each
 * projection sees inputs made by the compressed ones before it: q, k, v, then o, then gate, up, then down. Methods that compare
 * both models have the dense one run beside it.
 */
import { groupedBy } from "../allocate/kind.ts";
import { type SiteStatistics, SiteSums } from "../calibrate/statistics.ts";
import type { InputStatistics, Method, MethodOptions } from "../methods/method.ts";
import { advanceBatches, type Batch, setStream } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import type { Block, BlockState, BlockWeights, BlockWidths, Dense, PartShape, ProjectionShape, Stage } from "../models/model.ts";
import type { Held, Holder } from "../models/streams.ts";
import { nameInBlock } from "../models/weights.ts";
import { type DType, scope, type Tensor } from "../tensor/index.ts";
import type { StageClock } from "./measure.ts";
import { narrowerPart, narrowing } from "./narrower.ts";
import { decomposedStack, replacementsAt } from "./replacement.ts";
import type { ProjectionReport } from "./results.ts";
import { comparesModels } from "./stored-statistics.ts";

export interface BlockTask {
  readonly model: Model;
  readonly index: number;
  /** The block's dense weights; factored ones take their place. */
  readonly weights: BlockWeights;
  readonly method: Method;
  readonly options: MethodOptions;
  /** Rank of each projection to factor, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Those that read another one's right factor, and which. */
  readonly sharedRights: ReadonlyMap<string, string>;
  /** Sizes of the parts that get narrower. */
  readonly widths?: BlockWidths | undefined;
  /** What the factors are rounded to, so that later blocks see what will be written. */
  readonly dtype: DType;
  readonly clock: StageClock<"forward" | "statistics" | "factorize" | "write">;
  /** Called between steps of a second or less. */
  readonly checkpoint: () => void;
  /** Keeps activations between the steps of a block. */
  readonly holder: Holder;
  /** The block's statistics where they were summed before; else the batches are run to sum them. */
  readonly statistics?: SiteStatistics | undefined;
}

/** The calibration windows between two blocks. */
export interface Streams {
  /** What the blocks' projections see. */
  readonly seen: readonly Batch[];
  /** The same windows in the dense model, for methods that need both; else empty. */
  readonly dense: readonly Batch[];
}

/** Factors the block's projections and moves the streams to its output. The caller's scope owns the new weights. */
export function factorizeBlock(task: BlockTask, streams: Streams, propagate: "original" | "compressed"): ProjectionReport[] {
  if (task.method.needs.length === 0 && partsToNarrow(task).length === 0)
    return stacksOf(task, shapesToFactor(task)).flatMap((stack) => factorizeStack(task, stack, undefined));
  if (task.statistics) return factorizeSites(task, task.statistics);
  return propagate === "original" ? withOriginalInputs(task, streams.seen) : withCompressedInputs(task, streams);
}

function shapesToFactor({ model, index, ranks }: BlockTask): ProjectionShape[] {
  return model.architecture.projections(model.config, index).filter(({ name }) => ranks.has(name));
}

/** The parts that get narrower, in forward order. */
function partsToNarrow({ model, widths }: BlockTask): PartShape[] {
  return model.architecture.parts(model.config).filter(({ part }) => widths?.[part] !== undefined);
}

/** Width of the input of every site that a replacement needs the statistics of. */
function siteWidths(task: BlockTask): Map<string, number> {
  const { architecture, config } = task.model;
  const narrowed = new Set(partsToNarrow(task).map(({ site }) => site));
  const shapes = architecture
    .projections(config, task.index)
    .filter(({ name, site }) => task.ranks.has(name) || narrowed.has(site));
  return new Map(shapes.map(({ site, columns }) => [site, columns]));
}

function withOriginalInputs(task: BlockTask, batches: readonly Batch[]): ProjectionReport[] {
  const sums = new SiteSums(siteWidths(task));
  try {
    const observe = (site: string, input: Tensor) => task.clock.time("statistics", () => sums.add(site, input));
    task.clock.time("forward", () =>
      advanceBatches(task.model, batches, task.weights, task.index, { observe, between: task.checkpoint }),
    );
    return factorizeSites(task, sums);
  } finally {
    sums.dispose();
  }
}

/** A batch on its way through the block: its stream, and the input of the last site whose input is no wider. */
interface Paused {
  readonly batch: Batch;
  readonly weights: BlockWeights;
  /** Undefined at the block's entry. */
  input?: Held;
  /** Stages since then, run again instead of holding their wide inputs for every token. */
  pending: Stage[];
}

/** A batch, and the same windows in the dense model. */
interface Pair {
  readonly seen: Paused;
  readonly dense?: Paused | undefined;
}

function withCompressedInputs(task: BlockTask, streams: Streams): ProjectionReport[] {
  const { architecture } = task.model;
  const pairs = atEntry(task, streams);
  const reports = architecture.stages.flatMap((stage) => {
    const widths = new Map([...siteWidths(task)].filter(([site]) => site === stage.name));
    const sums = new SiteSums(widths, streams.dense.length > 0);
    for (const pair of pairs) sumAt(task, pair, stage, sums);
    const made = widths.size > 0 ? factorizeSite(task, stage.name, sums) : [];
    sums.dispose();
    return made;
  });
  for (const { seen, dense } of pairs) for (const item of dense ? [dense, seen] : [seen]) leaveBlock(task, item);
  return reports;
}

function atEntry({ weights }: BlockTask, { seen, dense }: Streams): Pair[] {
  const whole = { ...weights, linears: new Map(weights.linears) };
  return seen.map((batch, i): Pair => {
    const beside = dense[i];
    return { seen: { batch, weights, pending: [] }, dense: beside && { batch: beside, weights: whole, pending: [] } };
  });
}

const blockOf = ({ model }: BlockTask, { batch, weights }: Paused): Block => ({ config: model.config, weights, run: batch.run });

function heldState({ batch, input }: Paused): BlockState {
  const x = batch.stream.read();
  return { x, input: input?.read() ?? x };
}

/** The state at the stage after the pending ones; the caller's scope owns what is new. */
function runPending(task: BlockTask, item: Paused, state: BlockState, stages: readonly Stage[]): BlockState {
  const advance = (at: BlockState, stage: Stage) => scope(() => stage.advance(at, blockOf(task, item)));
  return stages.reduce((at, stage) => task.clock.time("forward", () => advance(at, stage)), state);
}

function sumAt(task: BlockTask, { seen, dense }: Pair, stage: Stage, sums: SiteSums): void {
  task.checkpoint();
  scope(() => {
    const beside = dense && advanceTo(task, dense, stage);
    const input = advanceTo(task, seen, stage);
    task.clock.time("statistics", () => sums.add(stage.name, input, beside));
  });
}

/** The input of the stage's site, which lives as long as the caller's scope. */
function advanceTo(task: BlockTask, item: Paused, stage: Stage): Tensor {
  const before = heldState(item);
  const next = runPending(task, item, before, [...item.pending, stage]);
  if (next.input.columns > task.model.config.hiddenSize) item.pending.push(stage);
  else hold(task, item, before, next);
  return next.input;
}

/** Keeps a state for later. */
function hold({ holder }: BlockTask, item: Paused, before: BlockState, next: BlockState): void {
  item.input?.dispose();
  item.input = holder.hold(next.input);
  item.pending = [];
  if (next.x !== before.x) item.batch.stream.set(next.x);
}

function leaveBlock(task: BlockTask, item: Paused): void {
  task.checkpoint();
  scope(() => {
    const state = runPending(task, item, heldState(item), item.pending);
    const x = task.clock.time("forward", () => task.model.architecture.leave(state, blockOf(task, item)));
    item.input?.dispose();
    setStream(item.batch, x, task.index);
  });
}

function factorizeSites(task: BlockTask, sums: SiteStatistics): ProjectionReport[] {
  return [...siteWidths(task).keys()].flatMap((site) => factorizeSite(task, site, sums));
}

/** Replaces all projections that read one site; they share its statistics. */
function factorizeSite(task: BlockTask, site: string, sums: SiteStatistics): ProjectionReport[] {
  const shapes = shapesToFactor(task).filter((shape) => shape.site === site);
  const made = scope(() => {
    const statistics = sums.statistics(site, `block ${task.index}`);
    const parts = partsToNarrow(task).filter((shape) => shape.site === site);
    const narrower = parts.map((shape) => narrowPart(task, shape, statistics));
    const reports = stacksOf(task, shapes).flatMap((stack) => factorizeStack(task, stack, statistics));
    return {
      reports: [...narrower.flatMap((part) => part.reports), ...reports],
      layers: [...narrower.map((part) => part.layers), ...shapes.map((shape) => layerOf(task, shape))],
    };
  });
  return made.reports;
}

function narrowPart(task: BlockTask, { part }: PartShape, statistics: InputStatistics) {
  task.checkpoint();
  return task.clock.time("factorize", () => {
    const { model, weights, options, method, index: block, dtype } = task;
    const wanted = { block, part, width: task.widths?.[part] as number, dtype };
    const made = scope(() => narrowerPart(model, narrowing(part, { model, weights, statistics, options, method }), wanted));
    for (const [name, layer] of made.layers) weights.linears.set(name, layer);
    if (made.ropePairs) weights.ropePairs = made.ropePairs;
    return made;
  });
}

function layerOf(task: BlockTask, shape: ProjectionShape) {
  return task.weights.linears.get(nameInBlock(shape.name));
}

/** Projections that share a right factor, together; each of the others alone. */
function stacksOf({ sharedRights }: BlockTask, shapes: readonly ProjectionShape[]): ProjectionShape[][] {
  return [...groupedBy(shapes, ({ name }) => sharedRights.get(name) ?? name).values()];
}

function factorizeStack(
  task: BlockTask,
  shapes: readonly ProjectionShape[],
  statistics: InputStatistics | undefined,
): ProjectionReport[] {
  task.checkpoint();
  return task.clock.time("factorize", () => {
    const members = shapes.map((shape) => ({ shape, dense: layerOf(task, shape) as Dense }));
    const rank = task.ranks.get((shapes[0] as ProjectionShape).name) as number;
    const made = scope(() => replacementsAt(decomposedStack(task, members, statistics), rank, task.dtype));
    for (const { layer, report } of made) task.weights.linears.set(nameInBlock(report.name), layer);
    // Where both models are compared, the dense stream is still to pass through the weights.
    if (!comparesModels(task.method)) for (const { dense } of members) dense.weight.dispose();
    return made.map(({ report }) => report);
  });
}
