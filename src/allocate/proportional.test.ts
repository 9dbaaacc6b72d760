import fc from "fast-check";
import { expect, test } from "vitest";
import { proportional } from "./proportional.ts";

const parts = fc.array(
  fc.record({ weight: fc.double({ min: 1e-3, max: 1e3, noNaN: true }), most: fc.double({ min: 1, max: 100, noNaN: true }) }),
  { minLength: 1, maxLength: 12 },
);

test("the parts make the total, none is above its limit, and those below are in proportion to their weights", () => {
  fc.assert(
    fc.property(parts, fc.double({ min: 0.01, max: 1, noNaN: true }), (given, fraction) => {
      const total = fraction * given.reduce((sum, { most }) => sum + most, 0);
      const shares = proportional(given, total);
      // A dozen sums and products of f64, the weights up to 1e6 apart.
      expect(shares.reduce((a, b) => a + b, 0) / total).toBeCloseTo(1, 9);
      const below = shares.flatMap((share, i) => {
        const { weight, most } = given[i] as { weight: number; most: number };
        expect(share).toBeLessThanOrEqual(most);
        return share < most ? [share / weight] : [];
      });
      for (const each of below) expect(each / (below[0] as number)).toBeCloseTo(1, 9);
    }),
  );
});

test("a limit's rest goes to the others by their weights", () => {
  const limits = [4, 100, 100].map((most, i) => ({ weight: i + 1, most }));
  expect(proportional(limits, 64)).toEqual([4, 24, 36]);
});
