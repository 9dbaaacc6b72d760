/** What a module can be replaced by, with the size and the predicted error of each choice. */
import type { ChannelCandidate, Curve, ProjectionCandidate } from "./allocator.ts";
import type { Option } from "./knapsack.ts";
import { breakEvenRank, projectionParameters } from "./size.ts";

export type Choice =
  | { readonly kind: "dense" }
  | { readonly kind: "rank"; readonly name: string; readonly rank: number }
  | { readonly kind: "width"; readonly block: number; readonly width: number };

/** Ranks below this share of the break-even rank are not offered: no measurement reaches down there. */
const LEAST_SHARE = 0.1;
/** Widths offered are multiples of it, which kernels like. */
const WIDTH_MULTIPLE = 8;

/** The error at rank or width k of a module: what an allocator adds up. */
export type ErrorOf = (curve: Partial<Curve>) => (size: number) => number;

/** The loss itself: additive over directions, exact (methods.md section 0). */
export const lossItself: ErrorOf =
  ({ losses }) =>
  (size) =>
    losses?.[size] ?? 0;

/** Dense, or factors of every rank that is smaller. */
export function rankOptions(candidate: ProjectionCandidate, rankMultiple: number, errorOf: ErrorOf): Option<Choice>[] {
  const { name } = candidate;
  const error = errorOf(candidate);
  const most = Math.ceil(breakEvenRank(candidate)) - 1;
  const least = Math.max(1, Math.floor(LEAST_SHARE * most));
  const options: Option<Choice>[] = [{ size: projectionParameters(candidate, undefined), error: 0, choice: { kind: "dense" } }];
  for (let rank = Math.ceil(least / rankMultiple) * rankMultiple; rank <= most; rank += rankMultiple) {
    options.push({ size: projectionParameters(candidate, rank), error: error(rank), choice: { kind: "rank", name, rank } });
  }
  return options;
}

/** All channels, or fewer. */
export function widthOptions(candidate: ChannelCandidate, errorOf: ErrorOf): Option<Choice>[] {
  const { block, width, parametersPerChannel } = candidate;
  const error = errorOf(candidate);
  const options: Option<Choice>[] = [{ size: width * parametersPerChannel, error: 0, choice: { kind: "dense" } }];
  const least = Math.max(WIDTH_MULTIPLE, Math.ceil((LEAST_SHARE * width) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE);
  for (let kept = least; kept < width; kept += WIDTH_MULTIPLE) {
    options.push({ size: kept * parametersPerChannel, error: error(kept), choice: { kind: "width", block, width: kept } });
  }
  return options;
}
