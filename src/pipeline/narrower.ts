/** What takes the place of a block's part: dense projections of fewer channels, rotary pairs or values a head, and what they cost. */
import { cr } from "../methods/cr.ts";
import type { InputStatistics, Method, MethodOptions } from "../methods/method.ts";
import { nystrom } from "../methods/nystrom.ts";
import { outputMetric } from "../methods/output-metric.ts";
import { valueOutput } from "../methods/value-output.ts";
import { pairRows } from "../models/head-rows.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Dense, Part, PartShape, RopePairs } from "../models/model.ts";
import { blockPrefix } from "../models/weights.ts";
import { tailSums } from "../tail-sums.ts";
import { type DType, hcat, row, scope, Tensor, vcat } from "../tensor/index.ts";
import { gradientsFor, rounded } from "./replacement.ts";
import type { ProjectionReport } from "./results.ts";

/** A part's new projections, by their name in the block. */
export interface NarrowerPart {
  readonly layers: ReadonlyMap<string, Dense>;
  /** Only where query and key heads became narrower. */
  readonly ropePairs?: RopePairs;
}

/** A part whose units are in order; any width can be taken from it. */
export interface Narrowing {
  /** Squared calibration loss at width k, k = 0 ... */
  readonly losses: Float64Array;
  /** What was added to the Gram matrix's diagonal, relative to its mean. */
  readonly damping: number;
  /** The caller's scope owns the layers. */
  at(width: number, dtype: DType): NarrowerPart;
}

/** What a part is made narrower from. */
export interface Given {
  readonly model: Model;
  readonly weights: BlockWeights;
  /** Of the part's site. */
  readonly statistics: InputStatistics;
  readonly options: Pick<MethodOptions, "order" | "shrinkage">;
  /** Whose metric decides which channels go. */
  readonly method: Method;
}

/** Positions over which rotary angles are averaged: a text's length, and past it only the slowest pairs still change. */
const POSITIONS = 512;

export function partShape({ architecture, config }: Model, part: Part): PartShape {
  return architecture.parts(config).find((shape) => shape.part === part) as PartShape;
}

export function narrowing(part: Part, given: Given): Narrowing {
  if (part === "channels") return fewerChannels(given);
  return part === "queryKey" ? fewerPairs(given) : fewerValues(given);
}

/** Rows of the input projections, and a refitted output projection. */
function fewerChannels({ model, weights: { linears }, statistics, options, method }: Given): Narrowing {
  const { inputs, output } = model.architecture.channels;
  const down = linears.get(output) as Dense;
  const reduction = scope(() => {
    const gradients = gradientsFor(method, output, statistics);
    const metric = gradients && outputMetric(gradients, options.shrinkage);
    return nystrom({ down: down.weight.to("f64"), gram: statistics.gram, metric }, options.order);
  });
  const at = (width: number, dtype: DType): NarrowerPart => {
    const kept = reduction.order.slice(0, width);
    const narrower = inputs.map((name) => [name, selectedRows(linears.get(name) as Dense, kept)] as const);
    return { layers: new Map([...narrower, [output, { ...down, weight: rounded(reduction.down(width), dtype) }]]) };
  };
  return { losses: tailSums(reduction.losses), damping: reduction.damping, at };
}

/** Rows of the query and key projections, the same pairs for all heads that see each other. */
function fewerPairs({ model, weights: { linears }, statistics, options }: Given): Narrowing {
  const { architecture, config } = model;
  const { query, key, shape } = architecture.heads;
  const { keyValue: groups, query: queries, dim } = shape(config);
  const [q, k] = [linears.get(query) as Dense, linears.get(key) as Dense];
  const reductions = scope(() => {
    const positions = architecture.positions(config, 0, POSITIONS);
    const gram = inputGram(statistics, [q, k]);
    const [Q, K] = [affine(q, [q, k]), affine(k, [q, k])];
    const ofGroup = (g: number) => heads(Q, queries).slice((g * queries) / groups, ((g + 1) * queries) / groups);
    return heads(K, groups).map((own, g) => cr({ queries: ofGroup(g), key: own, gram, positions }, options.order));
  });
  const at = (width: number): NarrowerPart => {
    const ropePairs = reductions.map(({ order }) => order.slice(0, width / 2).sort());
    const layers = new Map([
      [query, selectedRows(q, pairRows(queries, ropePairs, dim))],
      [key, selectedRows(k, pairRows(groups, ropePairs, dim))],
    ]);
    return { layers, ropePairs };
  };
  const losses = Float64Array.from({ length: dim + 1 }, (_, width) =>
    reductions.reduce((sum, reduction) => sum + (reduction.losses[Math.floor(width / 2)] as number), 0),
  );
  return { losses, damping: 0, at };
}

/** A new value projection and the output projection that belongs to it. */
function fewerValues({ model, weights: { linears }, statistics }: Given): Narrowing {
  const { value, output, shape } = model.architecture.heads;
  const { keyValue: groups, query: queries, dim } = shape(model.config);
  const [v, o] = [linears.get(value) as Dense, linears.get(output) as Dense];
  const reductions = scope(() => {
    const gram = inputGram(statistics, [v]);
    const outputs = heads(o.weight.to("f64").T, queries).map((head) => head.T.contiguous()); // d x e each
    return heads(affine(v, [v]), groups).map((own, g) =>
      valueOutput({ value: own, outputs: outputs.slice((g * queries) / groups, ((g + 1) * queries) / groups), gram }),
    );
  });
  const at = (width: number, dtype: DType): NarrowerPart =>
    scope(() => {
      const made = reductions.map((reduction) => reduction.at(width));
      const layers = new Map([
        [value, fromAffine(vcat(...made.map((head) => head.value)), v, dtype)],
        [output, { ...o, weight: rounded(hcat(...made.flatMap((head) => head.outputs)), dtype) }],
      ]);
      return { layers };
    });
  const losses = Float64Array.from({ length: dim + 1 }, (_, width) =>
    reductions.reduce((sum, reduction) => sum + (reduction.losses[width] as number), 0),
  );
  return Object.assign({ losses, damping: 0, at }, { holds: reductions });
}

/** W's rows, head by head. */
function heads(W: Tensor, count: number): Tensor[] {
  const e = W.rows / count;
  return Array.from({ length: count }, (_, h) => W.rowRange(h * e, (h + 1) * e).contiguous());
}

/** [W b] where one of the layers that share the inputs has a bias, so that it acts on [x; 1]. */
function affine({ weight, bias }: Dense, layers: readonly Dense[]): Tensor {
  const W = weight.to("f64");
  if (!layers.some((layer) => layer.bias)) return W;
  return hcat(W, bias ? bias.to("f64").T : Tensor.zeros([W.rows, 1], "f64"));
}

/** sum of x x^T, or of [x; 1] [x; 1]^T where a layer has a bias. */
function inputGram({ gram, mean, tokens }: InputStatistics, layers: readonly Dense[]): Tensor {
  if (!layers.some((layer) => layer.bias)) return gram;
  const sum = row(mean).scale(tokens); // 1 x n
  return vcat(hcat(gram, sum.T), hcat(sum, row([tokens])));
}

function fromAffine(W: Tensor, { bias }: Dense, dtype: DType): Dense {
  if (!bias) return { weight: rounded(W, dtype) };
  const n = W.columns - 1;
  return {
    weight: rounded(W.columnRange(0, n).contiguous(), dtype),
    bias: rounded(W.columnRange(n, n + 1).contiguous(), dtype).reshape(1, W.rows),
  };
}

function selectedRows({ weight, bias }: Dense, rows: Uint32Array): Dense {
  return { weight: weight.selectRows(rows), ...(bias ? { bias: bias.selectColumns(rows) } : {}) };
}

/** What a part is to become. */
export interface Wanted {
  readonly block: number;
  readonly part: Part;
  readonly width: number;
  readonly dtype: DType;
}

/** The part of one width, with a report for each of its projections. The caller's scope owns the layers. */
export function narrowerPart(
  model: Model,
  { losses, damping, at }: Narrowing,
  { block, part, width, dtype }: Wanted,
): NarrowerPart & { readonly reports: readonly ProjectionReport[] } {
  const made = at(width, dtype);
  const retained = 1 - (losses[width] as number) / (losses[0] || 1);
  const names = partShape(model, part).projections;
  const shapes = new Map(model.architecture.projections(model.config, block).map((shape) => [shape.name, shape]));
  const reports = names.map((short): ProjectionReport => {
    const name = blockPrefix(block) + short;
    const { rows = 0, columns = 0 } = shapes.get(name) ?? {};
    const isLast = short === names.at(-1);
    const pairs = isLast && made.ropePairs ? { ropePairs: made.ropePairs.map((own) => [...own]) } : {};
    return {
      name,
      rows,
      columns,
      rank: null,
      width,
      retainedEnergy: isLast ? retained : null,
      relativeError: null,
      damping,
      ...pairs,
    };
  });
  return { ...made, reports };
}
