/**
 * Nested decomposition: k1 of the rank for the calibration inputs, k2 = k - k1 for all others. What NSVD and NID do, and with
 * `--nesting` every other method. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A   m x n   weight
 *   A1  m x n   first fit, of rank k1 = round(nesting k), in the method's own metric
 *   A2  m x n   second fit, of rank k2, to the residual A - A1, in ||.||_F; of anchored methods to what A1 leaves of their target
 *
 * In one metric two steps would be one fit of rank k; here the second metric is another. So in the first one A1 + A2 is never
 * better than one fit of rank k, and it is nearer to A. A bias is the one that suits both together.
 */
import { hcat, scope, type Tensor, vcat } from "../tensor/index.ts";
import { product } from "./factors.ts";
import { meanBias } from "./measure.ts";
import type { Decomposition, Factors, Method, MethodOptions, Projection } from "./method.ts";
import { checkRank, leading, principalTerms } from "./terms.ts";

/** k1 / k of NSVD and NID. */
export const PUBLISHED_NESTING = 0.95;

/** k2, what is left of the rank for inputs that were not seen. */
export function unseenRank(k: number, nesting: number): number {
  return k - Math.round(nesting * k);
}

/** The method with `nesting`: its own where the user gives none. At 1 it is what it was, bit for bit. */
export function nestable(method: Method): Method {
  return {
    ...method,
    decompose(projection, options) {
      const seen = method.decompose(projection, options);
      return { ...seen, factors: (k) => nestedFactors(method, projection, options, seen, k) };
    },
  };
}

function nestedFactors(method: Method, given: Projection, options: MethodOptions, seen: Decomposition, k: number): Factors {
  const { weight: W, statistics } = given;
  const A = seen.target ?? W;
  checkRank(k, Math.min(A.rows, A.columns));
  const k2 = unseenRank(k, options.nesting ?? method.nesting ?? 1);
  if (k2 === 0) return seen.factors(k);
  return scope(() => {
    const A1 = k2 < k ? seen.factors(k - k2) : undefined;
    const A2 = (method.fitResidual ?? plainSvd)(A1 ? A.sub(product(A1)) : A, k2);
    const both = A1 ? beside(A1, A2) : A2;
    return method.addsBias?.(options) ? { ...both, bias: meanBias(W, both, statistics.mean) } : both;
  });
}

const plainSvd = (residual: Tensor, k2: number) => leading(principalTerms(residual, k2), k2);

/** [left1 left2] and [right1; right2]: the product is the sum of both. */
function beside(first: Factors, second: Factors): Factors {
  const sum = { left: hcat(first.left, second.left), right: vcat(first.right, second.right) }; // m x k, k x n
  return second.skeleton ? { ...sum, skeleton: second.skeleton } : sum;
}
