/**
 * The contract of an allocation rule: which replacement each module gets, under one total size. A module is a projection
 * (factors of some rank), or a part of a block (its MLP, its query and key heads, its value heads) that is made narrower, its
 * projections dense but smaller.
 */
import type { BlockWidths, Part } from "../models/model.ts";
import type { Shape } from "./size.ts";

/** What was measured with this module alone replaced: KL to the dense model's predictions, in nats a token. */
export interface Measured {
  /** The rank or width that was tried. */
  readonly at: number;
  readonly divergence: number;
}

/** What is known of a module: its loss at every size, and its divergence at those that were tried. */
export interface Curve {
  /** Squared calibration loss at rank or width k, for k = 0 ... */
  readonly losses: Float64Array;
  /** In no order; empty where nothing was tried. */
  readonly measured: readonly Measured[];
}

export interface ProjectionCandidate extends Shape, Partial<Curve> {
  /** The projection's full name. */
  readonly name: string;
  readonly block: number;
}

export interface PartCandidate extends Partial<Curve> {
  readonly block: number;
  readonly part: Part;
  /** Full names of its projections; making the part narrower excludes factoring them one by one. */
  readonly projections: readonly string[];
  /** Channels or values of a head that it has. */
  readonly width: number;
  /** Widths are multiples of it. */
  readonly step: number;
  /** Values stored for one unit of its width, in all its projections. */
  readonly parametersPerUnit: number;
}

export interface Candidates {
  readonly projections: readonly ProjectionCandidate[];
  /** Whether projections may be factored; else parts alone can become smaller. */
  readonly factored: boolean;
  /** Those that may become narrower; empty where the rule does not ask for them. */
  readonly parts: readonly PartCandidate[];
  /** 1 - mean cosine of the input and output of each block of the model; only where the rule asks for it. */
  readonly influences?: readonly number[] | undefined;
}

export interface Target {
  /** Fraction of the projections' parameters to keep, in (0, 1]. */
  readonly keep: number;
  /** Ranks are multiples of it. */
  readonly rankMultiple: number;
  /** `last-blocks`: how many blocks, and the fraction kept of each of their projections; by default both follow from `keep`. */
  readonly blocks?: number | undefined;
  readonly blockKeep?: number | undefined;
  /** `bolaco`. */
  readonly search?: Search;
}

export interface Allocation {
  /** Rank of every projection that is factored, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Sizes of every block that becomes narrower. */
  readonly widths: ReadonlyMap<number, BlockWidths>;
}

/**
 * What a rule must know: shapes alone, how much blocks change the stream, the losses of every size, or also measured divergences of
 * single modules; or shapes, and the divergence of whole allocations.
 */
export type Knowledge = "shapes" | "influences" | "losses" | "divergences" | "trials";

/** How a rule searches that measures whole allocations. */
export interface Search {
  /** Allocations to measure. */
  readonly trials: number;
  /** Parts of the depth that are allocated apart. */
  readonly depthGroups: number;
  readonly seed: number;
}

/** A whole allocation, and KL of the model that it makes to the dense one's predictions, in nats a token. */
export interface Trial {
  readonly allocation: Allocation;
  readonly divergence: number;
}

export interface Trials {
  /** Of other searches before this one, at this size and at others. */
  readonly earlier: readonly Trial[];
  /** Divergences on the probe windows. One pass over the blocks for all: ask for several at once. */
  measure(allocations: readonly Allocation[]): readonly number[];
}

/** Where modules are tried alone. */
export interface Tries {
  /** Shares of a projection's break-even rank. */
  readonly ranks: readonly number[];
  /** Shares of an MLP's channels. */
  readonly widths: readonly number[];
}

export interface Allocator {
  /** What the user types; also the file's name. */
  readonly name: string;
  readonly title: string;
  readonly needs: Knowledge;
  /**
   * Whether it makes parts of blocks narrower: never, for it chooses ranks; instead of factors, for methods that make none;
   * or beside factors, whichever costs less.
   */
  readonly parts: "never" | "instead" | "beside";
  /** Where it wants divergences measured, if not where others do. */
  readonly tries?: Tries;
  /** Whether its divergences are estimated to second order, each replacement within its block; else the whole model is run. */
  readonly secondOrder?: true;
  /** Whether only those kinds of module are measured in all blocks that it uses in a few; pilots.ts. */
  readonly pilots?: true;
  /** @param trials given where the rule `needs` them. */
  allocate(candidates: Candidates, target: Target, trials?: Trials): Allocation;
}
