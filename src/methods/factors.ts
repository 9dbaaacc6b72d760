/** What factors hold: the values to store, and the plain left and right that a forward pass multiplies by. */
import { scope, skeletonRows, type Tensor, vcat } from "../tensor/index.ts";
import type { Factors } from "./method.ts";

/** Values stored for the factors; a skeleton's column numbers are not parameters, its coefficients are. */
export function parameters({ left, right, bias, skeleton }: Factors): number {
  return left.size + right.size + (bias?.size ?? 0) + (skeleton?.coefficients.size ?? 0);
}

/** The same factors with the whole of `right` written out, k x n. */
export function expand(factors: Factors): Factors {
  if (!factors.skeleton) return factors;
  const { left, skeleton, bias } = factors;
  const right = scope(() => vcat(factors.right, skeletonRows(skeleton))); // k x n
  return bias ? { left, right, bias } : { left, right };
}

/** W' = left right, m x n. */
export function product(factors: Factors): Tensor {
  return scope(() => factors.left.matmul(expand(factors).right));
}
