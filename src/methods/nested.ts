/**
 * Nested decomposition: k1 of the rank for the calibration inputs, k2 = k - k1 for all others. What NSVD and NID share.
 * Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   first fit, of rank k1 = round(nesting k), in the metric of the calibration inputs
 *   A2  m x n   second fit, of rank k2, to the residual A - A1, in ||.||_F
 *
 * In one metric two steps would be one fit of rank k; here the second metric is another. So on the calibration inputs A1 + A2
 * is never better than one fit of rank k, and it is nearer to A.
 */
import { hcat, scope, type Tensor, vcat } from "../tensor/index.ts";
import { product } from "./factors.ts";
import type { Decomposition, Factors } from "./method.ts";
import { checkRank, leading, type Terms } from "./terms.ts";

/** k2, what is left of the rank for inputs that were not seen. */
export function unseenRank(k: number, nesting: number): number {
  return k - Math.round(nesting * k);
}

export function nested(
  A: Tensor,
  seen: Terms,
  unseen: (residual: Tensor, k2: number) => Factors,
  nesting: number,
): Decomposition {
  return {
    outputSpectrum: seen.losses,
    damping: 0,
    holds: [seen.left, seen.right],
    factors(k) {
      checkRank(k, Math.min(A.rows, A.columns));
      const k2 = unseenRank(k, nesting);
      if (k2 === 0) return leading(seen, k);
      if (k2 === k) return unseen(A, k);
      return scope(() => {
        const A1 = leading(seen, k - k2);
        return beside(A1, unseen(A.sub(product(A1)), k2));
      });
    },
  };
}

/** [left1 left2] and [right1; right2]: the product is the sum of both. */
function beside(first: Factors, second: Factors): Factors {
  const sum = { left: hcat(first.left, second.left), right: vcat(first.right, second.right) }; // m x k, k x n
  return second.skeleton ? { ...sum, skeleton: second.skeleton } : sum;
}
