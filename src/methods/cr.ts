/**
 * Fewer rotary pairs of query and key heads, by choosing the same columns of both (CR decomposition): MoDeGPT's type II.
 * Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu 2024, arXiv:2408.09632; pairs chosen by backward elimination on the exact loss
 * instead of each by its norms.
 *
 *   Q_h, K   N x e   queries and keys rotated by position, Q_h = X W_h^T
 *   C_h, C   e x e   their covariances Q_h^T Q_h and K^T K, W G W^T turned to every position and averaged
 *   P        p x p   p = e / 2 pairs: the sum over h of C_h and C entry by entry, 2 x 2 values a pair
 *   dropping the pairs D costs sum_h ||Q_hD K_D^T||^2 = sum over i, j in D of P_ij, for tr(K Q^T Q K^T) = <Q^T Q, K^T K>
 */
import { hcat, type RopeTable, scope, type Tensor, vcat } from "../tensor/index.ts";
import type { PairReduction, QueryKeyProblem, UnitOrder } from "./module-method.ts";

export function cr({ queries, key, gram, positions }: QueryKeyProblem, by: UnitOrder = "elimination"): PairReduction {
  return scope(() => {
    const C = rotatedCovariance(key, gram, positions); // e x e
    const products = queries.map((W) => rotatedCovariance(W, gram, positions).mul(C)); // e x e each
    const P = overPairs(products.reduce((sum, product) => sum.add(product)));
    const p = P.rows;
    const entries = P.toFloat64Array();
    const cost = (i: number, j: number) => entries[i * p + j] as number;
    const order = by === "elimination" ? eliminate(p, cost) : byScore(p, cost);
    return { order, losses: lossesOf(order, cost) };
  });
}

/**
 * The mean over positions of R C R^T, C = W G W^T, where R turns pair (i, i + p) by the position's angle: with the tables'
 * mean products, for R is made of cosines and sines. Tokens are taken to be alike at all positions.
 */
function rotatedCovariance(W: Tensor, G: Tensor, { cos, sin }: RopeTable): Tensor {
  return scope(() => {
    const covariance = W.matmul(G).matmul(W.T); // e x e
    const p = covariance.rows / 2;
    const quarter = (row: number, column: number) =>
      covariance
        .rowRange(row * p, (row + 1) * p)
        .columnRange(column * p, (column + 1) * p)
        .contiguous();
    const [c, s] = [cos.to("f64"), sin.to("f64")];
    const mean = (a: Tensor, b: Tensor) => a.T.matmul(b).scale(1 / cos.rows); // p x p
    const [cc, cs, sc, ss] = [mean(c, c), mean(c, s), mean(s, c), mean(s, s)];
    const [A, B, D, E] = [quarter(0, 0), quarter(0, 1), quarter(1, 0), quarter(1, 1)];
    // (c x - s y, s x + c y) of each pair (x, y), times the same of every other pair.
    const xx = cc.mul(A).sub(cs.mul(B)).sub(sc.mul(D)).add(ss.mul(E));
    const xy = cs.mul(A).add(cc.mul(B)).sub(ss.mul(D)).sub(sc.mul(E));
    const yx = sc.mul(A).sub(ss.mul(B)).add(cc.mul(D)).sub(cs.mul(E));
    const yy = ss.mul(A).add(sc.mul(B)).add(cs.mul(D)).add(cc.mul(E));
    return vcat(hcat(xx, xy), hcat(yx, yy));
  });
}

/** Sums of the 2 x 2 values that two pairs share: e x e to p x p. */
function overPairs(M: Tensor): Tensor {
  const p = M.rows / 2;
  const rows = M.rowRange(0, p).add(M.rowRange(p, 2 * p)); // p x e
  return rows.columnRange(0, p).add(rows.columnRange(p, 2 * p));
}

type Cost = (i: number, j: number) => number;

/** Drops the pair that costs least beside those dropped before it, one after the other. */
function eliminate(p: number, cost: Cost): Uint32Array {
  const left = new Set(Array(p).keys());
  const added = Float64Array.from({ length: p }, (_, i) => cost(i, i)); // loss that dropping i would add
  const dropped: number[] = [];
  while (left.size > 0) {
    const next = [...left].reduce((best, i) => ((added[i] as number) < (added[best] as number) ? i : best));
    left.delete(next);
    dropped.push(next);
    for (const i of left) added[i] = (added[i] as number) + 2 * cost(i, next);
  }
  return Uint32Array.from(dropped.reverse());
}

/** Each pair by what dropping it alone costs: the paper's product of norms, over both values of a pair and all query heads. */
function byScore(p: number, cost: Cost): Uint32Array {
  return Uint32Array.from(Array(p).keys()).sort((a, b) => cost(b, b) - cost(a, a));
}

/** The loss of dropping all but the first k of `order`. */
function lossesOf(order: Uint32Array, cost: Cost): Float64Array {
  const losses = new Float64Array(order.length + 1);
  for (let k = order.length - 1; k >= 0; k--) {
    const pair = order[k] as number;
    const shared = order.subarray(k + 1).reduce((sum, other) => sum + cost(pair, other), 0);
    losses[k] = Math.max((losses[k + 1] as number) + cost(pair, pair) + 2 * shared, 0);
  }
  return losses;
}
