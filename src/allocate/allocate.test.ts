import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Candidates, ProjectionCandidate } from "./allocator.ts";
import { combined, knapsack, lowerHull, type Option } from "./knapsack.ts";
import { ALLOCATORS, allocatorNamed } from "./registry.ts";
import { projectionParameters, rankForKeep } from "./size.ts";

describe("sizes", () => {
  test("factors are never larger than the matrix, and the next rank would exceed keep", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 0.01, max: 1 }),
        (rows, columns, keep) => {
          const rank = rankForKeep({ rows, columns }, keep);
          if (rank === undefined) return;
          const size = projectionParameters({ rows, columns }, rank);
          expect(size).toBeLessThan(rows * columns);
          // floor(keep m n / (m + n)) in f64: a product that should be whole may come out one rounding above.
          expect(size).toBeLessThanOrEqual(keep * rows * columns * (1 + 1e-12));
          expect(projectionParameters({ rows, columns }, rank + 1)).toBeGreaterThan(keep * rows * columns * (1 - 1e-12));
        },
      ),
    );
  });
});

const groups = fc.array(
  fc.array(fc.record({ size: fc.integer({ min: 1, max: 40 }), error: fc.double({ min: 0, max: 9, noNaN: true }) }), {
    minLength: 1,
    maxLength: 5,
  }),
  { minLength: 1, maxLength: 4 },
);
const withChoices = (raw: { size: number; error: number }[][]): Option<number>[][] =>
  raw.map((options) => options.map((option, choice) => ({ ...option, choice })));

/** The least error within the size, by trying everything; undefined where nothing fits. */
function exhaustive(all: Option<number>[][], size: number): number | undefined {
  let best: number | undefined;
  const walk = (i: number, used: number, error: number): void => {
    if (used > size) return;
    if (i === all.length) best = Math.min(best ?? error, error);
    else for (const option of all[i] as Option<number>[]) walk(i + 1, used + option.size, error + option.error);
  };
  walk(0, 0, 0);
  return best;
}

describe("the knapsack", () => {
  test("stays within the size where the smallest options do, and is at most one step from the best", () => {
    fc.assert(
      fc.property(groups, fc.integer({ min: 5, max: 150 }), (raw, size) => {
        const all = withChoices(raw);
        const chosen = knapsack(all, size).map((choice, i) => all[i]?.[choice] as Option<number>);
        const least = all.reduce((sum, options) => sum + Math.min(...options.map((o) => o.size)), 0);
        if (least > size) return;
        expect(chosen.reduce((sum, o) => sum + o.size, 0)).toBeLessThanOrEqual(size);
        const best = exhaustive(all, size) as number;
        const step = Math.max(
          ...all.map((options) => Math.max(...options.map((o) => o.error)) - Math.min(...options.map((o) => o.error))),
        );
        expect(chosen.reduce((sum, o) => sum + o.error, 0)).toBeLessThanOrEqual(best + step + 1e-9);
      }),
    );
  });

  test("a hull goes down ever less steeply", () => {
    fc.assert(
      fc.property(groups, (raw) => {
        const hull = lowerHull(withChoices(raw)[0] as Option<number>[]);
        const slopes = hull
          .slice(1)
          .map((o, i) => ((hull[i] as Option<number>).error - o.error) / (o.size - (hull[i] as Option<number>).size));
        for (let i = 1; i < slopes.length; i++) expect(slopes[i]).toBeLessThanOrEqual((slopes[i - 1] as number) + 1e-12);
      }),
    );
  });

  test("groups chosen as one offer the same best errors as apart", () => {
    fc.assert(
      fc.property(groups, fc.integer({ min: 40, max: 150 }), (raw, size) => {
        const all = withChoices(raw);
        const apart = knapsack(all, size).reduce((sum, choice, i) => sum + (all[i]?.[choice]?.error ?? 0), 0);
        const [together] = knapsack([combined(all)], size);
        const error = (together as number[]).reduce((sum, choice, i) => sum + (all[i]?.[choice]?.error ?? 0), 0);
        expect(error).toBeGreaterThanOrEqual(apart - 1e-9);
      }),
    );
  });
});

/** Losses that decay from `scale`, for ranks 0 ... n. */
const decaying = (n: number, scale: number) =>
  Float64Array.from({ length: n + 1 }, (_, k) => scale * (Math.exp((-6 * k) / n) - Math.exp(-6)));

function candidate(name: string, block: number, scale: number): ProjectionCandidate {
  const losses = decaying(64, scale);
  return { name, block, rows: 64, columns: 64, losses, measured: [{ at: 16, divergence: scale }] };
}

const candidates: Candidates = {
  projections: [candidate("a", 0, 1), candidate("b", 0, 100), candidate("c", 1, 1)],
  factored: true,
  parts: [],
  influences: [0.5, 0.6],
};

describe("allocation rules", () => {
  const searchless = ALLOCATORS.filter(({ needs }) => needs !== "trials").map(({ name }) => name);
  test.each(searchless)("%s keeps no more than asked for", (name) => {
    for (const keep of [0.3, 0.6, 0.9]) {
      const { ranks } = allocatorNamed(name).allocate(candidates, { keep, rankMultiple: 1 });
      const kept = candidates.projections.reduce((sum, p) => sum + projectionParameters(p, ranks.get(p.name)), 0);
      expect(kept).toBeLessThanOrEqual(keep * 3 * 64 * 64);
      expect(kept).toBeGreaterThan((keep - 0.05) * 3 * 64 * 64);
    }
  });

  test.each(["energy", "kl", "auto"])("%s gives more to what costs more", (name) => {
    const { ranks } = allocatorNamed(name).allocate(candidates, { keep: 0.6, rankMultiple: 1 });
    expect(ranks.get("b") ?? 64).toBeGreaterThan(ranks.get("a") as number);
    // What is left of the size after the last step that fits goes to one of the equals.
    expect(Math.abs((ranks.get("a") as number) - (ranks.get("c") as number))).toBeLessThanOrEqual(1);
  });

  test("auto drops channels where that costs less than factors", () => {
    const projections = ["gate", "up", "down"].map((name) => candidate(name, 0, 10));
    const parts = [
      {
        block: 0,
        part: "channels" as const,
        projections: ["gate", "up", "down"],
        width: 64,
        step: 8,
        parametersPerUnit: 192,
        losses: decaying(64, 1),
        measured: [{ at: 45, divergence: 0.01 }],
      },
    ];
    const chosen = allocatorNamed("auto").allocate({ projections, factored: true, parts }, { keep: 0.7, rankMultiple: 1 });
    expect([...chosen.widths]).toEqual([[0, { channels: 40 }]]);
    expect(chosen.ranks.size).toBe(0);
  });
});
