/**
 * Fewer MLP channels, the rest made up for by least squares (a Nystrom approximation of C): MoDeGPT's type I.
 * Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu 2024, arXiv:2408.09632; channels chosen by ridge leverage as published, or by
 * backward elimination: Hassibi, Stork 1993 (optimal brain surgeon), in groups, which loses 3 to 20 % less on SmolLM2-135M.
 *
 *   D  m x f   down projection, y = D h
 *   C  f x f   sum of h h^T over calibration tokens
 *   S          the channels kept, k of f
 *   D' = D C_fS C_SS^-1, the best map from the kept channels; its loss is the sum over dropped columns of ||(D L)_j||^2
 *   where L L^T = C in the chosen order
 *
 * With a metric of the outputs D' is the same, least squares in every direction; the choice and the losses are the metric's.
 */

import { NumericsError } from "../errors.ts";
import {
  addToDiagonal,
  cholesky,
  diagonal,
  dispose,
  keep,
  meanDiagonal,
  scope,
  solveLower,
  type Tensor,
} from "../tensor/index.ts";
import type { ChannelProblem, ChannelReduction, UnitOrder } from "./module-method.ts";
import { inverse } from "./whitening.ts";

/** First damping tried, relative to C's mean diagonal: silent channels, or fewer tokens than channels, leave no inverse. */
const DAMPING = 1e-6;
/** Channels dropped between two updates of the inverse: one at a time is exact and f / 32 times slower, for the same loss to 1e-3. */
const GROUP = 32;
/** Below this share of the channels their order is that of their last scores. */
const SMALLEST = 0.1;

export function nystrom({ down: D, gram, metric }: ChannelProblem, by: UnitOrder = "elimination"): ChannelReduction {
  return scope(() => {
    const { C, damping } = regular(gram);
    const order = by === "elimination" ? eliminate({ down: felt(D, metric), gram: C }) : byLeverage(C);
    return { ...reduction({ down: D, gram: C, metric }, order), damping };
  });
}

/** C with the least damping of 1e-6, 1e-5 ... that makes it positive definite. */
function regular(gram: Tensor): { C: Tensor; damping: number } {
  const scale = meanDiagonal(gram) || 1;
  for (let damping = DAMPING; damping <= 1; damping *= 10) {
    const C = addToDiagonal(gram, damping * scale);
    if (scope(() => cholesky(C) !== undefined)) return { C, damping };
  }
  throw new NumericsError(
    "nystrom: expected a positive semidefinite Gram matrix of the MLP channels, got one that is far from it",
  );
}

/** An error of the outputs, m x f, as the metric counts it. */
const felt = (E: Tensor, metric: Tensor | undefined) => (metric ? metric.T.matmul(E) : E);

/** The reduction that keeps channels in the order given. */
export function reduction({ down: D, gram: C, metric }: ChannelProblem, order: Uint32Array): Omit<ChannelReduction, "damping"> {
  const L = scope(() => factor(C.selectRows(order).selectColumns(order))); // f x f
  const M = scope(() => D.selectColumns(order).matmul(L)); // m x f
  const losses = scope(() => squaresOfColumns(felt(M, metric)));
  // D' C_SS = D C_fS = M (L_S.)^T, and C_SS = L_SS L_SS^T: so D' = M_S L_SS^-1.
  const down = (k: number) =>
    scope(() => {
      const Lss = L.rowRange(0, k).columnRange(0, k).contiguous(); // k x k
      return solveLower(Lss, M.columnRange(0, k).T, true).T.contiguous(); // m x k
    });
  return Object.assign({ order, losses, down }, { holds: [L, M] });
}

/** Ridge of the leverage scores, relative to C's mean diagonal. */
const RIDGE = 1e-2;

/** The paper's order: the diagonal of C (C + ridge I)^-1 = I - ridge (C + ridge I)^-1, largest first; D does not count. */
function byLeverage(C: Tensor): Uint32Array {
  const ridge = RIDGE * meanDiagonal(C);
  const left = scope(() => diagonal(inverse(addToDiagonal(C, ridge)))); // (1 - score) / ridge
  return Uint32Array.from(left.keys()).sort((a, b) => (left[a] as number) - (left[b] as number));
}

/** Drops the channels whose loss, with all others refitted, is least: ||D_j||^2 / (C^-1)_jj, group after group. */
function eliminate({ down, gram }: ChannelProblem): Uint32Array {
  const all = [...Array(gram.rows).keys()];
  let state: Elimination = keep({ channels: all, left: all, D: scope(() => down.contiguous()), P: inverse(gram) });
  const dropped: number[] = [];
  const channelsAt = (positions: readonly number[]) => positions.map((i) => state.channels[i] as number);
  while (state.left.length > Math.max(SMALLEST * gram.rows, GROUP)) {
    const ranked = byScore(state);
    dropped.push(...channelsAt(ranked.slice(0, GROUP)));
    const next = keep(scope(() => without(state, ranked)));
    dispose([state.D, state.P]);
    state = next;
  }
  const rest = channelsAt(byScore(state));
  dispose([state.D, state.P]);
  return Uint32Array.from([...dropped, ...rest].reverse());
}

/** D refitted to the channels left, and the inverse P of their Gram matrix; both are nothing at channels dropped. */
interface Elimination {
  /** Of each column of D and P. */
  readonly channels: readonly number[];
  /** Positions among them of those left. */
  readonly left: readonly number[];
  readonly D: Tensor;
  readonly P: Tensor;
}

/** Positions of the channels left, the one that costs least first. */
function byScore({ D, P, left }: Elimination): number[] {
  const precision = diagonal(P);
  const scores = scope(() => squaresOfColumns(D)).map((energy, j) => energy / (precision[j] as number));
  return [...left].sort((a, b) => (scores[a] as number) - (scores[b] as number));
}

/** The elimination of the first GROUP of `ranked`: the Schur complement of P, and D moved onto the others. */
function without({ channels, D, P }: Elimination, ranked: readonly number[]): Elimination {
  const [out, left] = [ranked.slice(0, GROUP), ranked.slice(GROUP).sort((a, b) => a - b)];
  const rows = P.selectRows(out);
  const L = factor(rows.selectColumns(out)); // GROUP x GROUP
  const A = solveLower(L, rows); // GROUP x all
  const B = solveLower(L, D.selectColumns(out).T); // GROUP x m
  return compact({ channels, left, D: D.sub(B.T.matmul(A)), P: P.sub(A.T.matmul(A)) });
}

/** Columns that hold nothing are taken out a quarter at a time: to copy the rest costs more than to carry them. */
function compact(state: Elimination): Elimination {
  const { channels, left, D, P } = state;
  if (left.length > 0.75 * channels.length) return state;
  return {
    channels: left.map((i) => channels[i] as number),
    left: [...left.keys()],
    D: D.selectColumns(left),
    P: P.selectRows(left).selectColumns(left),
  };
}

const squaresOfColumns = (M: Tensor) => M.mul(M).columnSums().toFloat64Array();

function factor(A: Tensor): Tensor {
  const L = cholesky(A);
  if (L) return L;
  throw new NumericsError("nystrom: expected a positive definite part of the Gram matrix; more calibration text helps");
}
