import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PartCandidate } from "./allocator.ts";
import { influence, spread } from "./influence.ts";
import { ALLOCATORS } from "./registry.ts";
import { projectionParameters } from "./size.ts";

describe("sparsities by influence", () => {
  test("give up what is asked for, none above the limit, the larger share more", () => {
    const blocks = fc.array(
      fc.record({ size: fc.integer({ min: 1, max: 99 }), share: fc.double({ min: 1e-6, max: 1, noNaN: true }) }),
      {
        minLength: 1,
        maxLength: 12,
      },
    );
    fc.assert(
      fc.property(blocks, fc.double({ min: 0.01, max: 0.79, noNaN: true }), (given, fraction) => {
        const [sizes, shares] = [given.map(({ size }) => size), given.map(({ share }) => share)];
        const phi = spread(sizes, shares, fraction);
        const lost = phi.reduce((sum, sparsity, i) => sum + sparsity * (sizes[i] as number), 0);
        expect(lost).toBeCloseTo(fraction * sizes.reduce((a, b) => a + b, 0), 9);
        expect(Math.max(...phi)).toBeLessThanOrEqual(0.8 + 1e-12);
        for (const [i, a] of shares.entries()) {
          for (const [j, b] of shares.entries()) if (a > b) expect(phi[i]).toBeGreaterThanOrEqual((phi[j] as number) - 1e-12);
        }
      }),
    );
  });

  test("blocks that change nothing lose the most", () => {
    const projection = (block: number) => ({ name: `${block}`, block, rows: 100, columns: 100 });
    const projections = [0, 1, 2].map(projection);
    const given = { projections, factored: true, parts: [], influences: [0.4, 0.05, 0.2] };
    const { ranks } = influence.allocate(given, { keep: 0.6, rankMultiple: 1 });
    expect((ranks.get("0") ?? 100) > (ranks.get("2") as number)).toBe(true);
    expect((ranks.get("2") as number) > (ranks.get("1") as number)).toBe(true);
  });
});

/** A block of SmolLM2-135M. */
const block = (index: number): PartCandidate[] => [
  { block: index, part: "queryKey", projections: ["q", "k"], width: 64, step: 2, parametersPerUnit: 12 * 576, ...curve(64) },
  { block: index, part: "value", projections: ["v", "o"], width: 64, step: 1, parametersPerUnit: 12 * 576, ...curve(64) },
  { block: index, part: "channels", projections: ["mlp"], width: 1536, step: 8, parametersPerUnit: 3 * 576, ...curve(1536) },
];
const curve = (width: number) => ({
  losses: Float64Array.from({ length: width + 1 }, (_, k) => (1 - k / width) ** 2),
  measured: [{ at: Math.round(width / 2), divergence: 0.1 }],
});

describe("parts instead of factors", () => {
  const named = ALLOCATORS.filter(({ parts }) => parts !== "never").map((rule) => [rule.name, rule] as const);
  test.each(named)("%s keeps no more than asked for, and no projection is factored", (_, rule) => {
    const parts = [...block(0), ...block(1)].map((part) => {
      return { ...part, projections: part.projections.map((name) => `${part.block}.${name}`) };
    });
    const shapes = { q: [576, 576], k: [192, 576], v: [192, 576], o: [576, 576], mlp: [3 * 1536, 576] };
    const projections = [0, 1].flatMap((index) =>
      Object.entries(shapes).map(([name, [rows = 0, columns = 0]]) => ({
        name: `${index}.${name}`,
        block: index,
        rows,
        columns,
      })),
    );
    const total = projections.reduce((sum, shape) => sum + projectionParameters(shape, undefined), 0);
    for (const keep of [0.6, 0.77, 0.9]) {
      const given = { projections, factored: false, parts, influences: [0.3, 0.25] };
      const { ranks, widths } = rule.allocate(given, { keep, rankMultiple: 1 });
      expect(ranks.size).toBe(0);
      const kept = parts.reduce((sum, { block: index, part, width, parametersPerUnit }) => {
        return sum + (widths.get(index)?.[part] ?? width) * parametersPerUnit;
      }, 0);
      expect(kept).toBeLessThanOrEqual(keep * total);
      expect(kept).toBeGreaterThan((keep - 0.02) * total);
      for (const { queryKey = 64 } of widths.values()) expect(queryKey % 2).toBe(0);
    }
  });
});
