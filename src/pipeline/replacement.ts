/** What takes a projection's place: its factors of one rank as they will be written, and what they cost. */
import { expand } from "../methods/factors.ts";
import { costs } from "../methods/measure.ts";
import type { Decomposition, Factors, InputStatistics, Method, MethodOptions } from "../methods/method.ts";
import type { Dense, LowRank, ProjectionShape } from "../models/model.ts";
import { nameInBlock } from "../models/weights.ts";
import { type DType, scope, type Tensor, vcat } from "../tensor/index.ts";
import type { ProjectionReport } from "./results.ts";

/** A projection and its dense layer. */
export interface Member {
  readonly shape: ProjectionShape;
  readonly dense: Dense;
}

/** One or more projections of one input that a method has decomposed as one, W = [W_1; W_2; ...]; any rank can be taken from it. */
export interface Decomposed {
  readonly members: readonly Member[];
  /** Undefined where nothing was measured. */
  readonly statistics: InputStatistics | undefined;
  readonly decomposition: Decomposition;
}

export interface Replacement {
  readonly layer: LowRank;
  readonly report: ProjectionReport;
}

interface How {
  readonly method: Method;
  readonly options: MethodOptions;
}

/** Decomposes a projection with what is known of its site. The caller's scope owns the tensors. */
export function decomposed(how: How, shape: ProjectionShape, dense: Dense, statistics: InputStatistics | undefined): Decomposed {
  return decomposedStack(how, [{ shape, dense }], statistics);
}

/** The same of projections that will share a right factor; no method that reads gradients can. */
export function decomposedStack(
  { method, options }: How,
  members: readonly Member[],
  statistics: InputStatistics | undefined,
): Decomposed {
  const gradients = gradientsFor(method, nameInBlock((members[0] as Member).shape.name), statistics);
  const weight = scope(() => vcat(...members.map(({ dense }) => dense.weight)).to("f64"));
  const given = { weight, statistics: statistics as InputStatistics, gradients };
  return { members, statistics, decomposition: method.decompose(given, options) };
}

/** The gradients at a projection's outputs, where the method reads them; by the projection's name in the block. */
export function gradientsFor(method: Method, projection: string, statistics: InputStatistics | undefined): Tensor | undefined {
  return method.needs.includes("gradients") ? statistics?.outputGradients?.(projection) : undefined;
}

/** The values that are left of a tensor when it is written, as f32. */
export function rounded(tensor: Tensor, dtype: DType): Tensor {
  return tensor.to("f32").to(dtype).to("f32");
}

/** A single projection's factors of one rank, rounded to what is written. The caller's scope owns them. */
export function replacementAt(made: Decomposed, rank: number, dtype: DType): Replacement {
  return replacementsAt(made, rank, dtype)[0] as Replacement;
}

/** The same for every projection of a stack; they share the right factor. */
export function replacementsAt({ members, statistics, decomposition }: Decomposed, rank: number, dtype: DType): Replacement[] {
  const made = decomposition.factors(rank);
  const { left, right, bias } = roundedFactors(expand(made), dtype);
  const total = decomposition.outputSpectrum?.reduce((sum, value) => sum + value, 0);
  const energy = members.length === 1 ? total : undefined; // of all together
  let end = 0;
  return members.map(({ shape, dense }) => {
    const start = end;
    end += shape.rows;
    const added = bias?.columnRange(start, end);
    const own: Factors = { left: left.rowRange(start, end), right, ...(added ? { bias: added } : {}) };
    return {
      layer: layerOf(own, dense),
      report: {
        name: shape.name,
        rows: shape.rows,
        columns: shape.columns,
        rank,
        ...costs(dense.weight, own, statistics, energy),
        damping: decomposition.damping,
        ...(made.skeleton ? { skeleton: [...made.skeleton.columns] } : {}),
      },
    };
  });
}

/** Whole factors as they will be written; the bias 1 x m. */
function roundedFactors({ left, right, bias }: Factors, dtype: DType): Factors {
  const added = bias && rounded(bias, dtype).reshape(1, left.rows);
  return { left: rounded(left, dtype), right: rounded(right, dtype), ...(added ? { bias: added } : {}) };
}

function layerOf({ left, right, bias: added }: Factors, dense: Dense): LowRank {
  const bias = dense.bias && added ? dense.bias.add(added) : (dense.bias ?? added);
  return { left, right, ...(bias ? { bias } : {}) };
}
