/** What takes a projection's place: its factors of one rank as they will be written, and what they cost. */
import { expand } from "../methods/factors.ts";
import { costs } from "../methods/measure.ts";
import type { Decomposition, Factors, InputStatistics, Method, MethodOptions } from "../methods/method.ts";
import type { Dense, LowRank, ProjectionShape } from "../models/model.ts";
import { nameInBlock } from "../models/weights.ts";
import type { DType, Tensor } from "../tensor/index.ts";
import type { ProjectionReport } from "./results.ts";

/** A projection that a method has decomposed; any rank can be taken from it. */
export interface Decomposed {
  readonly shape: ProjectionShape;
  readonly dense: Dense;
  /** Undefined where nothing was measured. */
  readonly statistics: InputStatistics | undefined;
  readonly decomposition: Decomposition;
}

export interface Replacement {
  readonly layer: LowRank;
  readonly report: ProjectionReport;
}

/** Decomposes a projection with what is known of its site. The caller's scope owns the tensors. */
export function decomposed(
  { method, options }: { method: Method; options: MethodOptions },
  shape: ProjectionShape,
  dense: Dense,
  statistics: InputStatistics | undefined,
): Decomposed {
  const gradients = gradientsFor(method, nameInBlock(shape.name), statistics);
  const given = { weight: dense.weight.to("f64"), statistics: statistics as InputStatistics, gradients };
  return { shape, dense, statistics, decomposition: method.decompose(given, options) };
}

/** The gradients at a projection's outputs, where the method reads them; by the projection's name in the block. */
export function gradientsFor(method: Method, projection: string, statistics: InputStatistics | undefined): Tensor | undefined {
  return method.needs.includes("gradients") ? statistics?.outputGradients?.(projection) : undefined;
}

/** The values that are left of a tensor when it is written, as f32. */
export function rounded(tensor: Tensor, dtype: DType): Tensor {
  return tensor.to("f32").to(dtype).to("f32");
}

/** The factors of one rank, rounded to what is written. The caller's scope owns them. */
export function replacementAt({ shape, dense, statistics, decomposition }: Decomposed, rank: number, dtype: DType): Replacement {
  const made = decomposition.factors(rank);
  const factors = expand(made);
  const [left, right] = [rounded(factors.left, dtype), rounded(factors.right, dtype)];
  const added = factors.bias && rounded(factors.bias, dtype).reshape(1, shape.rows);
  const bias = dense.bias && added ? dense.bias.add(added) : (dense.bias ?? added);
  const written: Factors = { left, right, ...(added ? { bias: added } : {}) };
  const energy = decomposition.outputSpectrum?.reduce((sum, value) => sum + value, 0);
  return {
    layer: { left, right, ...(bias ? { bias } : {}) },
    report: {
      name: shape.name,
      rows: shape.rows,
      columns: shape.columns,
      rank,
      ...costs(dense.weight, written, statistics, energy),
      damping: decomposition.damping,
      ...(made.skeleton ? { skeleton: [...made.skeleton.columns] } : {}),
    },
  };
}
