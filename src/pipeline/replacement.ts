/** What takes a projection's place: its factors of one rank as they will be written, and what they cost. */
import { expand } from "../methods/factors.ts";
import { relativeError, retainedEnergy } from "../methods/measure.ts";
import type { Decomposition, Factors, InputStatistics } from "../methods/method.ts";
import { nystrom } from "../methods/nystrom.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Dense, LowRank, ProjectionShape } from "../models/model.ts";
import { blockPrefix } from "../models/weights.ts";
import type { DType, Tensor } from "../tensor/index.ts";
import type { ProjectionReport } from "./results.ts";

/** A projection that a method has decomposed; any rank can be taken from it. */
export interface Decomposed {
  readonly shape: ProjectionShape;
  readonly dense: Dense;
  /** The dense weight in f64, m x n. */
  readonly W: Tensor;
  /** Undefined where nothing was measured. */
  readonly statistics: InputStatistics | undefined;
  readonly decomposition: Decomposition;
}

export interface Replacement {
  readonly layer: LowRank;
  readonly report: ProjectionReport;
}

/** The values that are left of a tensor when it is written, as f32. */
export function rounded(tensor: Tensor, dtype: DType): Tensor {
  return tensor.to("f32").to(dtype).to("f32");
}

/** The factors of one rank, rounded to what is written. The caller's scope owns them. */
export function replacementAt(
  { shape, dense, W, statistics, decomposition }: Decomposed,
  rank: number,
  dtype: DType,
): Replacement {
  const made = decomposition.factors(rank);
  const factors = expand(made);
  const [left, right] = [rounded(factors.left, dtype), rounded(factors.right, dtype)];
  const added = factors.bias && rounded(factors.bias, dtype).reshape(1, shape.rows);
  const bias = dense.bias && added ? dense.bias.add(added) : (dense.bias ?? added);
  const written: Factors = { left: left.to("f64"), right: right.to("f64"), ...(added ? { bias: added.to("f64") } : {}) };
  const energy = decomposition.outputSpectrum?.reduce((sum, value) => sum + value, 0);
  return {
    layer: { left, right, ...(bias ? { bias } : {}) },
    report: {
      name: shape.name,
      rows: shape.rows,
      columns: shape.columns,
      rank,
      retainedEnergy: statistics ? retainedEnergy(W, written, statistics, energy) : null,
      relativeError: relativeError(W, written),
      damping: decomposition.damping,
      ...(made.skeleton ? { skeleton: [...made.skeleton.columns] } : {}),
    },
  };
}

/** A block's MLP with its channels ordered: the new dense projections of any width, by their name in the block. */
export function narrowed(model: Model, { linears }: BlockWeights, { gram }: InputStatistics) {
  const { inputs, output } = model.architecture.channels;
  const down = linears.get(output) as Dense;
  const reduction = nystrom.reduce({ down: down.weight.to("f64"), gram });
  const layersAt = (width: number, dtype: DType): Map<string, Dense> => {
    const channels = reduction.order.slice(0, width);
    const narrower = inputs.map((name) => [name, selectedRows(linears.get(name) as Dense, channels)] as const);
    return new Map([...narrower, [output, { ...down, weight: rounded(reduction.down(width), dtype) }]]);
  };
  return { reduction, layersAt };
}

/** What a narrower MLP is made with. */
export interface Narrowing {
  readonly block: number;
  /** Channels to keep. */
  readonly width: number;
  /** Of the output projection's inputs. */
  readonly statistics: InputStatistics;
  readonly dtype: DType;
}

/** The MLP of one width and what it costs. The caller's scope owns the layers. */
export function narrowerMlp(model: Model, weights: BlockWeights, { block, width, statistics, dtype }: Narrowing) {
  const { reduction, layersAt } = narrowed(model, weights, statistics);
  const layers = layersAt(width, dtype);
  const sum = (losses: Float64Array) => losses.reduce((a, b) => a + b, 0);
  const kept = 1 - sum(reduction.losses.slice(width)) / (sum(reduction.losses) || 1);
  const prefix = blockPrefix(block);
  const shapes = model.architecture.projections(model.config, block).filter(({ name }) => layers.has(name.slice(prefix.length)));
  const reports = shapes.map(({ name, rows, columns }): ProjectionReport => {
    const retainedEnergy = name === prefix + model.architecture.channels.output ? kept : null;
    return { name, rows, columns, rank: null, width, retainedEnergy, relativeError: null, damping: reduction.damping };
  });
  return { layers, reports };
}

function selectedRows({ weight, bias }: Dense, rows: Uint32Array): Dense {
  return { weight: weight.selectRows(rows), ...(bias ? { bias: bias.selectColumns(rows) } : {}) };
}
