/** What factors hold: the values to store, and the plain left and right that a forward pass multiplies by. */
import { hcat, identity, scope, type Tensor, vcat } from "../tensor/index.ts";
import type { Factors, Skeleton } from "./method.ts";

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

/** Z = [I coefficients] with its columns in their places, s x n. */
function skeletonRows({ columns, coefficients }: Skeleton): Tensor {
  const s = columns.length;
  const places = [...columns, ...otherColumns(columns, s + coefficients.columns)];
  const source = new Uint32Array(places.length);
  places.forEach((column, i) => {
    source[column] = i;
  });
  return hcat(identity(s), coefficients).selectColumns(source);
}

/** Column numbers below n that `columns` does not name, from left to right. */
export function otherColumns(columns: Uint32Array, n: number): number[] {
  const named = new Set(columns);
  return Array.from({ length: n }, (_, j) => j).filter((j) => !named.has(j));
}
