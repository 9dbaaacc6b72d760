/**
 * The contract of an allocation rule: which replacement each module gets, under one total size. A module is a projection
 * (factors of some rank), or a block's MLP (fewer channels, its three projections dense but narrower).
 */
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

export interface ChannelCandidate extends Curve {
  readonly block: number;
  /** Full names of the MLP's projections; replacing its channels excludes replacing them one by one. */
  readonly projections: readonly string[];
  /** Channels it has. */
  readonly width: number;
  /** Values stored for one channel, in all three projections. */
  readonly parametersPerChannel: number;
}

export interface Candidates {
  readonly projections: readonly ProjectionCandidate[];
  /** Empty where the rule does not ask for them. */
  readonly channels: readonly ChannelCandidate[];
}

export interface Target {
  /** Fraction of the projections' parameters to keep, in (0, 1]. */
  readonly keep: number;
  /** Ranks are multiples of it. */
  readonly rankMultiple: number;
  /** `last-blocks`: how many blocks, and the fraction kept of each of their projections; by default both follow from `keep`. */
  readonly blocks?: number | undefined;
  readonly blockKeep?: number | undefined;
}

export interface Allocation {
  /** Rank of every projection that is factored, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** MLP width of every block that gets fewer channels. */
  readonly widths: ReadonlyMap<number, number>;
}

/** What a rule must know: shapes alone, the losses of every rank as well, or also measured divergences. */
export type Knowledge = "shapes" | "losses" | "divergences";

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
  /** Whether it chooses between factors and fewer channels for an MLP. */
  readonly channels: boolean;
  /** Where it wants divergences measured, if not where others do. */
  readonly tries?: Tries;
  allocate(candidates: Candidates, target: Target): Allocation;
}
