import { describe, expect, test } from "vitest";
import type { Allocation, ProjectionCandidate, Trial } from "./allocator.ts";
import { bolaco } from "./bolaco.ts";
import { expectedImprovement, normalDistribution, predict } from "./gaussian-process.ts";
import { projectionParameters } from "./size.ts";

describe("a Gaussian process", () => {
  const observations = [0, 0.25, 0.5, 0.75, 1].map((x) => ({ point: [x], value: Math.sin(4 * x) + 10 }));

  test("passes by what it saw and is sure of it; far away it knows the mean and spread of the values alone", () => {
    const seen = predict(
      observations,
      observations.map(({ point }) => point),
      [0.5],
    );
    for (const [i, { mean, deviation }] of seen.entries()) {
      // Noise of 1e-4 of the variance, a hundredth of the deviation.
      expect(Math.abs(mean - (observations[i]?.value as number))).toBeLessThan(0.01);
      expect(deviation).toBeLessThan(0.01);
    }
    const [far] = predict(observations, [[1000]], [0.5]);
    const mean = observations.reduce((sum, { value }) => sum + value, 0) / 5;
    expect(far?.mean).toBeCloseTo(mean, 9);
    expect(far?.deviation).toBeCloseTo(Math.sqrt(observations.reduce((sum, { value }) => sum + (value - mean) ** 2, 0) / 5), 9);
  });

  test("predicts what a fine grid around it says", () => {
    const [middle] = predict(observations, [[0.4]], [0.5]);
    expect(Math.abs((middle?.mean as number) - Math.sin(1.6) - 10)).toBeLessThan(0.05);
  });

  test("expects the improvement that an integral over its distribution gives", () => {
    const prediction = { mean: 1.3, deviation: 0.7 };
    const step = 1e-4;
    let integral = 0;
    for (let z = -8; z < 8; z += step)
      integral += (Math.max(1 - (1.3 + 0.7 * z), 0) * Math.exp((-z * z) / 2) * step) / Math.sqrt(2 * Math.PI);
    expect(expectedImprovement(prediction, 1)).toBeCloseTo(integral, 6);
    expect(expectedImprovement({ mean: 0.5, deviation: 0 }, 1)).toBe(0.5);
    expect(normalDistribution(-1.959964)).toBeCloseTo(0.025, 6);
  });
});

const kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
const projections = [0, 1, 2, 3].flatMap((block) =>
  kinds.map((kind): ProjectionCandidate => ({ name: `${block}.${kind}`, block, rows: 64, columns: 64 })),
);
const sizeOf = ({ ranks }: Allocation) => projections.reduce((sum, p) => sum + projectionParameters(p, ranks.get(p.name)), 0);

/** The more of o and down is kept, the better; of q and gate nothing matters. */
function divergenceOf({ ranks }: Allocation): number {
  const kept = (kind: string) => (ranks.get(`0.${kind}`) ?? 32) / 32;
  return 0.1 + (1 - kept("o_proj")) ** 2 + 2 * (1 - kept("down_proj")) ** 2;
}

function search(options: { trials?: number; seed?: number; depthGroups?: number; keep?: number }, earlier: Trial[] = []) {
  const { keep = 0.6, trials = 30, seed = 0, depthGroups = 1 } = options;
  const asked: Allocation[] = [];
  const measure = (allocations: readonly Allocation[]) => {
    asked.push(...allocations);
    return allocations.map(divergenceOf);
  };
  const target = { keep, rankMultiple: 1, search: { trials, seed, depthGroups } };
  const allocation = bolaco.allocate({ projections, factored: true, parts: [] }, target, { earlier, measure });
  return { allocation, asked };
}

describe("bolaco", () => {
  test("tries as often as asked, each time nearly the whole size and never more, and never touches v", () => {
    const { asked } = search({ trials: 23 });
    expect(asked).toHaveLength(23);
    for (const allocation of asked) {
      const kept = sizeOf(allocation) / (projections.length * 64 * 64);
      expect(kept).toBeLessThanOrEqual(0.6);
      expect(kept).toBeGreaterThan(0.6 - 1 / 32);
      expect([...allocation.ranks.keys()].some((name) => name.endsWith("v_proj"))).toBe(false);
    }
  });

  test("returns the best it tried, better than its first draws, and much better than where it began", () => {
    const { allocation, asked } = search({});
    const divergences = asked.map(divergenceOf);
    expect(divergenceOf(allocation)).toBe(Math.min(...divergences));
    expect(Math.min(...divergences)).toBeLessThan(Math.min(...divergences.slice(0, 10)));
    expect(divergenceOf(allocation) - 0.1).toBeLessThan(0.2 * ((divergences[0] as number) - 0.1));
  });

  test("asks the same again for the same seed, and other things for another", () => {
    const ranks = (seed: number) => search({ trials: 14, seed }).asked.map((allocation) => [...allocation.ranks]);
    expect(ranks(0)).toEqual(ranks(0));
    expect(ranks(1)).not.toEqual(ranks(0));
  });

  test("learns from trials at another size", () => {
    const other = search({ keep: 0.7, trials: 18 }).asked.map(
      (allocation): Trial => ({ allocation, divergence: divergenceOf(allocation) }),
    );
    const proposal = (earlier: Trial[]) => search({ trials: 11 }, earlier).asked.at(-1) as Allocation;
    expect([...proposal(other).ranks]).not.toEqual([...proposal([]).ranks]);
    expect(divergenceOf(proposal(other))).toBeLessThanOrEqual(divergenceOf(proposal([])));
  });

  test("allocates parts of the depth apart", () => {
    const { asked } = search({ trials: 4, depthGroups: 4 });
    const up = [0, 1, 2, 3].map((block) => asked.at(-1)?.ranks.get(`${block}.up_proj`) ?? 64);
    expect(new Set(up).size).toBeGreaterThan(1);
  });

  test("says what it cannot reach", () => {
    expect(() => search({ keep: 0.25 })).toThrow(/at least 0\.31/);
  });
});
