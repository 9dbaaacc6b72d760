import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import type { ProjectionCandidate, Target } from "./allocator.ts";
import { keepOf, lastBlocks, scheduleFor } from "./last-blocks.ts";
import { projectionParameters } from "./size.ts";
import { uniform } from "./uniform.ts";

const BLOCK = [
  { rows: 576, columns: 576 },
  { rows: 192, columns: 576 },
  { rows: 1536, columns: 576 },
];

const model = (depth: number): ProjectionCandidate[] =>
  Array.from({ length: depth }, (_, block) => BLOCK.map((shape, i) => ({ ...shape, name: `${block}.${i}`, block }))).flat();

const equal = (depth: number): number[] => Array.from({ length: depth }, () => 7);

function ranksOf(depth: number, target: Omit<Target, "rankMultiple">) {
  return lastBlocks.allocate({ projections: model(depth), factored: true, parts: [] }, { rankMultiple: 1, ...target }).ranks;
}

describe("the schedule", () => {
  test.each([
    [0.9, 8, 0.6],
    [0.8, 12, 0.46],
    [0.5, 24, 0.33],
  ])("is the paper's at keep %d of 32 blocks", (keep, blocks, blockKeep) => {
    expect(scheduleFor(equal(32), { keep, rankMultiple: 1 })).toEqual({ blocks, blockKeep });
  });

  test.each([
    [30, 0.8, 11, 0.45],
    [6, 0.8, 2, 0.4],
    [6, 0.2, 6, 0.2],
    [1, 0.7, 1, 0.7],
  ])("scales with the depth: %i blocks at keep %d", (depth, keep, blocks, blockKeep) => {
    expect(scheduleFor(equal(depth), { keep, rankMultiple: 1 })).toEqual({ blocks, blockKeep });
  });

  test("keeps what was asked for, to the rounding of the module keep, at any depth", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 2, max: 100 }), (depth, percent) => {
        const keep = percent / 100;
        const schedule = scheduleFor(equal(depth), { keep, rankMultiple: 1 });
        expect(schedule.blocks).toBeGreaterThanOrEqual(1);
        expect(schedule.blocks).toBeLessThanOrEqual(depth);
        expect(schedule.blockKeep).toBeGreaterThan(0);
        expect(keepOf(schedule, equal(depth))).toBeLessThanOrEqual(keep + 1e-9);
        expect(keepOf(schedule, equal(depth))).toBeGreaterThan(keep - 0.01 - 1e-9);
      }),
    );
  });
});

describe("last-blocks", () => {
  test("factors the last blocks alone, each projection as uniform would at the module keep", () => {
    const ranks = ranksOf(32, { keep: 0.8, blocks: 12, blockKeep: 0.46 });
    const last = model(32).filter(({ block }) => block >= 20);
    expect(ranks).toEqual(
      uniform.allocate({ projections: last, factored: true, parts: [] }, { keep: 0.46, rankMultiple: 1 }).ranks,
    );
    expect(ranks.size).toBe(12 * BLOCK.length);
  });

  test("over all blocks is uniform", () => {
    const all = uniform.allocate({ projections: model(9), factored: true, parts: [] }, { keep: 0.61, rankMultiple: 1 }).ranks;
    expect(ranksOf(9, { keep: 0.61, blocks: 9 })).toEqual(all);
  });

  test("told how many, gives those what is left of the size", () => {
    const ranks = ranksOf(10, { keep: 0.8, blocks: 4 });
    const kept = model(10).reduce((sum, shape) => sum + projectionParameters(shape, ranks.get(shape.name)), 0);
    const total = model(10).reduce((sum, shape) => sum + projectionParameters(shape, undefined), 0);
    expect(kept / total).toBeLessThanOrEqual(0.8);
    expect(kept / total).toBeGreaterThan(0.795);
  });

  test("takes what has to go from unequal blocks too", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 2, max: 99 }),
        (sizes, percent) => {
          const keep = percent / 100;
          const kept = keepOf(scheduleFor(sizes, { keep, rankMultiple: 1 }), sizes);
          expect(Math.abs(kept - keep)).toBeLessThan(0.01 + 1e-9);
        },
      ),
    );
  });

  test("counts the blocks that may be compressed", () => {
    const projections = model(10).filter(({ block }) => block < 6);
    const { ranks } = lastBlocks.allocate({ projections, factored: true, parts: [] }, { keep: 0.9, rankMultiple: 1, blocks: 2 });
    expect(new Set([...ranks.keys()].map((name) => name.split(".")[0]))).toEqual(new Set(["4", "5"]));
  });

  test.each([
    [{ keep: 0.8, blocks: 11 }, "--blocks 11: expected at most the 10 blocks to compress"],
    [
      { keep: 0.5, blocks: 4 },
      "the last 4 of 10 blocks hold 0.40 of the parameters, --keep 0.5 would take 0.50; compress more blocks, or keep more",
    ],
  ])("refuses %j", (target, message) => {
    expect(() => ranksOf(10, target)).toThrow(UsageError);
    expect(() => ranksOf(10, target)).toThrow(message);
  });
});
