/** The contract of an allocation rule: how much each projection keeps, under one total size. */
import type { Shape } from "./size.ts";

export interface Candidate extends Shape {
  /** The projection's full name. */
  readonly name: string;
}

export interface Target {
  /** Fraction of the candidates' parameters to keep, in (0, 1]. */
  readonly keep: number;
  /** Ranks are multiples of it. */
  readonly rankMultiple: number;
}

export interface Allocator {
  /** What the user types; also the file's name. */
  readonly name: string;
  readonly title: string;
  /** The rank of every candidate; undefined where it stays dense. */
  allocate(candidates: readonly Candidate[], target: Target): Map<string, number | undefined>;
}
