/** Sizes: parameters, ranks and the fraction kept. A factored m x n projection of rank k stores k (m + n) values. */

export interface Shape {
  readonly rows: number;
  readonly columns: number;
}

/** Above this rank factors are no smaller than the matrix: m n / (m + n). */
export function breakEvenRank({ rows, columns }: Shape): number {
  return (rows * columns) / (rows + columns);
}

/** Values stored for a projection, its bias aside; dense when rank is undefined. */
export function projectionParameters({ rows, columns }: Shape, rank: number | undefined): number {
  return rank === undefined ? rows * columns : rank * (rows + columns);
}

/**
 * The largest rank that keeps at most `keep` of the projection's parameters, down to a multiple of `multiple`;
 * undefined (stays dense) where factors would not be smaller, or where not even rank `multiple` fits.
 */
export function rankForKeep(shape: Shape, keep: number, multiple = 1): number | undefined {
  const rank = Math.floor((keep * breakEvenRank(shape)) / multiple) * multiple;
  const smaller = projectionParameters(shape, rank) < projectionParameters(shape, undefined);
  return rank >= 1 && smaller ? rank : undefined;
}
