import fc from "fast-check";
import { expect, test } from "vitest";
import type { PartCandidate } from "./allocator.ts";
import { smoothedOverDepth } from "./smoothed.ts";

/** Channels of a block whose loss at width 1 is `loss`, and what that costs. */
function channels(block: number, loss: number, divergence: number): PartCandidate {
  const losses = Float64Array.of(2 * loss, loss, 0);
  return {
    block,
    part: "channels",
    projections: [],
    width: 2,
    step: 1,
    parametersPerUnit: 1,
    losses,
    measured: [{ at: 1, divergence }],
  };
}

const scales = (parts: readonly PartCandidate[]) =>
  parts.map(({ measured, losses }) => (measured?.[0]?.divergence as number) / (losses?.[1] as number));

const positive = fc.double({ min: 1e-6, max: 1e6, noNaN: true });

test("one scale for all blocks stays as it is, whatever their losses are", () => {
  fc.assert(
    fc.property(positive, fc.array(positive, { minLength: 1, maxLength: 20 }), (scale, losses) => {
      const parts = losses.map((loss, block) => channels(block, loss, scale * loss));
      for (const found of scales(smoothedOverDepth(parts))) expect(Math.abs(found / scale - 1)).toBeLessThan(1e-12);
    }),
  );
});

test("a scale that grows by one factor from block to block stays, away from both ends", () => {
  const found = scales(smoothedOverDepth(Array.from({ length: 12 }, (_, block) => channels(block, 1, 1.5 ** block))));
  for (const block of [4, 5, 6, 7]) expect((found[block] as number) / 1.5 ** block).toBeCloseTo(1, 12);
});

test("one block's outlier counts a fifth there, and less the further away", () => {
  const parts = Array.from({ length: 11 }, (_, block) => channels(block, 1, block === 5 ? Math.E : 1));
  const logarithms = scales(smoothedOverDepth(parts)).map(Math.log);
  expect(logarithms[5]).toBeCloseTo(5 / 25, 12);
  expect(logarithms[6]).toBeCloseTo(4 / (25 - 0), 12);
  expect(logarithms[10]).toBe(0);
});

test("blocks where nothing is known, or nothing is lost, are left out", () => {
  const { measured: _, ...unknown } = channels(1, 1, 1);
  const parts = [channels(0, 1, 2), unknown, channels(2, 0, 0), { ...channels(0, 1, 7), part: "value" as const }];
  expect(smoothedOverDepth(parts)).toEqual(parts);
});
