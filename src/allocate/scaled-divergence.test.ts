import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { scaledDivergence } from "./scaled-divergence.ts";

/** Losses at sizes 0, 1, ... that go down to nothing, and divergences measured at some of the sizes. */
const curves = fc.array(fc.double({ min: 1e-6, max: 1e3, noNaN: true }), { minLength: 3, maxLength: 20 }).chain((steps) => {
  const losses = Float64Array.from({ length: steps.length + 1 }, (_, k) => steps.slice(k).reduce((a, b) => a + b, 0));
  const point = fc.record({
    at: fc.integer({ min: 0, max: steps.length - 1 }),
    divergence: fc.oneof(fc.constant(0), fc.double({ min: 1e-9, max: 20, noNaN: true })),
  });
  const measured = fc.uniqueArray(point, { minLength: 1, maxLength: 4, selector: ({ at }) => at });
  return fc.record({ losses: fc.constant(losses), measured });
});

describe("scaled divergences", () => {
  test("from one measured size are the loss times one scale, whatever the size", () => {
    const losses = Float64Array.of(8, 4, 2, 1, 0);
    const error = scaledDivergence({ losses, measured: [{ at: 1, divergence: 0.5 }] });
    expect([0, 1, 2, 3, 4].map(error)).toEqual([1, 0.5, 0.25, 0.125, 0]);
  });

  test("between two measured sizes are a power of the loss", () => {
    const losses = Float64Array.of(16, 8, 4, 2, 1, 0);
    const measured = [
      { at: 4, divergence: 0.01 },
      { at: 0, divergence: 2.56 },
    ];
    const error = scaledDivergence({ losses, measured });
    // KL = 0.01 loss^2 through both; 16 roundings of a power are at most 1e-14.
    for (const [k, expected] of [2.56, 0.64, 0.16, 0.04, 0.01, 0].entries()) expect(error(k)).toBeCloseTo(expected, 12);
  });

  test("pass through every measured size that costs no less than the sizes above it, and never rise with size", () => {
    fc.assert(
      fc.property(curves, (curve) => {
        const error = scaledDivergence(curve);
        for (const { at, divergence } of curve.measured) {
          const above = curve.measured.filter((other) => other.at >= at).map((other) => other.divergence);
          expect(error(at)).toBeCloseTo(Math.max(divergence, ...above), 9);
        }
        for (let k = 1; k < curve.losses.length; k++) expect(error(k)).toBeLessThanOrEqual(error(k - 1) * (1 + 1e-9));
      }),
    );
  });

  test("are nothing where nothing was measured, or no loss was seen", () => {
    expect(scaledDivergence({ losses: Float64Array.of(2, 1) })(0)).toBe(0);
    expect(scaledDivergence({ losses: new Float64Array(3), measured: [{ at: 1, divergence: 1 }] })(1)).toBe(0);
  });
});
