/**
 * The divergence at every size from the few that were measured, along the loss curve: KL(k) = s(k) loss(k). Measured at one
 * size, the scale s is KL(k0) / loss(k0) everywhere (LEMS). Between two, log s is linear in log loss: KL is a power of the loss
 * that passes through both. Beyond the outermost, the scale is theirs.
 */
import type { Curve } from "./allocator.ts";
import type { ErrorOf } from "./options.ts";

/** A measured size as a point of KL over loss. */
interface Point {
  readonly loss: number;
  /** KL / loss. */
  readonly scale: number;
}

export const scaledDivergence: ErrorOf = (curve) => {
  const { losses = new Float64Array() } = curve;
  const points = pointsOf(curve);
  return (size) => {
    const loss = losses[size] ?? 0;
    return loss > 0 ? scaleAt(points, loss) * loss : 0;
  };
};

/** By rising loss; a larger loss is never held to cost less than a smaller one, which in measured values is noise. */
function pointsOf({ losses, measured = [] }: Partial<Curve>): Point[] {
  const tried = measured.map(({ at, divergence }) => ({ loss: losses?.[at] ?? 0, divergence }));
  let most = 0;
  return tried
    .filter(({ loss }) => loss > 0)
    .sort((a, b) => a.loss - b.loss)
    .map(({ loss, divergence }) => {
      most = Math.max(most, divergence);
      return { loss, scale: most / loss };
    });
}

function scaleAt(points: readonly Point[], loss: number): number {
  const below = points.findLast((point) => point.loss <= loss);
  const above = points.find((point) => point.loss >= loss);
  if (!below || !above || below.loss === above.loss) return (below ?? above)?.scale ?? 0;
  const t = Math.log(loss / below.loss) / Math.log(above.loss / below.loss);
  return below.scale ** (1 - t) * above.scale ** t;
}
