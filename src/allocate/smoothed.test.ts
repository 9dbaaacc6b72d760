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

test("a scale that grows by one factor from block to block stays as it is", () => {
  const found = scales(smoothedOverDepth(Array.from({ length: 12 }, (_, block) => channels(block, 1, 1.5 ** block))));
  found.forEach((scale, block) => {
    expect(scale / 1.5 ** block).toBeCloseTo(1, 12);
  });
});

test("one block's outlier counts a fifth there, and less the further away", () => {
  const parts = Array.from({ length: 13 }, (_, block) => channels(block, 1, block === 6 ? Math.E : 1));
  const logarithms = scales(smoothedOverDepth(parts)).map(Math.log);
  expect(logarithms[6]).toBeCloseTo(5 / 25, 12);
  expect(logarithms[7]).toBeCloseTo(4 / 25, 12);
  // Nearer to the end fewer blocks count: at 9 those from 6 to 12, with weights 1, 2, 3, 4, 3, 2, 1.
  expect(logarithms[9]).toBeCloseTo(1 / 16, 12);
  expect(logarithms[10]).toBe(0);
});

test("the first block and the last speak for themselves", () => {
  const parts = Array.from({ length: 6 }, (_, block) => channels(block, 1, [7, 1, 1, 1, 1, 9][block] as number));
  const found = scales(smoothedOverDepth(parts));
  expect(found[0]).toBeCloseTo(7, 12);
  expect(found[5]).toBeCloseTo(9, 12);
});

test("blocks where nothing is known, or nothing is lost, are left out", () => {
  const { measured: _, ...unknown } = channels(1, 1, 1);
  const parts = [channels(0, 1, 2), unknown, channels(2, 0, 0), { ...channels(1, 1, 7), part: "value" as const }];
  expect(smoothedOverDepth(parts)).toEqual(parts);
});
