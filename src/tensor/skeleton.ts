/** Rows of an interpolative decomposition, stored without their identity part. */
import { identity } from "./linalg.ts";
import { hcat, type Tensor } from "./tensor.ts";

/** The last s rows of a right factor: the identity at some columns, coefficients at the others. */
export interface Skeleton {
  /** The s columns that hold the identity, in the order of the rows. */
  readonly columns: Uint32Array;
  /** s x (n - s): the other columns, from left to right. */
  readonly coefficients: Tensor;
}

/** Z = [I coefficients] with its columns in their places, s x n. */
export function skeletonRows({ columns, coefficients }: Skeleton): Tensor {
  const s = columns.length;
  const places = [...columns, ...otherColumns(columns, s + coefficients.columns)];
  const source = new Uint32Array(places.length);
  places.forEach((column, i) => {
    source[column] = i;
  });
  return hcat(identity(s).to(coefficients.dtype), coefficients).selectColumns(source);
}

/** Column numbers below n that `columns` does not name, from left to right. */
export function otherColumns(columns: Uint32Array, n: number): number[] {
  const named = new Set(columns);
  return Array.from({ length: n }, (_, j) => j).filter((j) => !named.has(j));
}
