/** What a module can be replaced by, with the size and the predicted error of each choice. */

import type { Part } from "../models/model.ts";
import type { Curve, PartCandidate, ProjectionCandidate } from "./allocator.ts";
import type { Option } from "./knapsack.ts";
import { breakEvenRank, projectionParameters } from "./size.ts";

export type Choice =
  | { readonly kind: "dense" }
  | { readonly kind: "rank"; readonly name: string; readonly rank: number }
  | { readonly kind: "width"; readonly block: number; readonly part: Part; readonly width: number };

/** Ranks and widths below this share of the break-even rank, or of the whole width, are not offered: no measurement reaches down there. */
const LEAST_SHARE = 0.1;

/** The error at rank or width k of a module: what an allocator adds up. */
export type ErrorOf = (curve: Partial<Curve>) => (size: number) => number;

/** The loss itself: additive over directions, exact (methods.md section 0). */
export const lossItself: ErrorOf =
  ({ losses }) =>
  (size) =>
    losses?.[size] ?? 0;

/** As it is. */
export function denseOption(candidate: ProjectionCandidate): Option<Choice> {
  return { size: projectionParameters(candidate, undefined), error: 0, choice: { kind: "dense" } };
}

/** Dense, or factors of every rank that is smaller; dense alone where nothing is known of it. */
export function rankOptions(candidate: ProjectionCandidate, rankMultiple: number, errorOf: ErrorOf): Option<Choice>[] {
  const { name, losses } = candidate;
  if (!losses) return [denseOption(candidate)];
  const error = errorOf(candidate);
  const most = Math.ceil(breakEvenRank(candidate)) - 1;
  const least = Math.max(1, Math.floor(LEAST_SHARE * most));
  const options = [denseOption(candidate)];
  for (let rank = Math.ceil(least / rankMultiple) * rankMultiple; rank <= most; rank += rankMultiple) {
    options.push({ size: projectionParameters(candidate, rank), error: error(rank), choice: { kind: "rank", name, rank } });
  }
  return options;
}

/** The whole width, or less where something is known of it. */
export function widthOptions(candidate: PartCandidate, errorOf: ErrorOf): Option<Choice>[] {
  const { block, part, width, step, parametersPerUnit, losses } = candidate;
  const error = errorOf(candidate);
  const options: Option<Choice>[] = [{ size: width * parametersPerUnit, error: 0, choice: { kind: "dense" } }];
  if (!losses) return options;
  for (let kept = Math.ceil((LEAST_SHARE * width) / step) * step; kept < width; kept += step) {
    options.push({ size: kept * parametersPerUnit, error: error(kept), choice: { kind: "width", block, part, width: kept } });
  }
  return options;
}
