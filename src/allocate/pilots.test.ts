import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Candidates, ProjectionCandidate } from "./allocator.ts";
import { auto } from "./auto.ts";
import { kindOf } from "./kind.ts";
import { betweenPilots, kindsUsed, pilotsOf } from "./pilots.ts";

/** Blocks 3, 4, ...: those that are to be compressed need not begin at 0. */
const blocks = (count: number) => Array.from({ length: count }, (_, i) => i + 3);

describe("pilot blocks", () => {
  test("are a sixth, with the first and the last, no two gaps more than one block apart", () => {
    fc.assert(
      fc.property(fc.integer({ min: 6, max: 200 }), (count) => {
        const pilots = [...pilotsOf(blocks(count))];
        expect(pilots).toHaveLength(Math.max(5, Math.ceil(count / 6)));
        expect([pilots[0], pilots.at(-1)]).toEqual([3, count + 2]);
        const gaps = pilots.slice(1).map((block, i) => block - (pilots[i] as number));
        expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("are all where there are few", () => {
    for (const count of [0, 1, 2, 5]) expect([...pilotsOf(blocks(count))]).toEqual(blocks(count));
  });
});

/** A projection whose loss and divergence decay from `scale`. */
function projection(block: number, kind: string, scale: number): ProjectionCandidate {
  const losses = Float64Array.from({ length: 65 }, (_, k) => scale * (Math.exp((-6 * k) / 64) - Math.exp(-6)));
  const name = `model.layers.${block}.${kind}`;
  return { name, block, rows: 64, columns: 64, losses, measured: [{ at: 16, divergence: losses[16] as number }] };
}

function model(scales: Readonly<Record<string, number>>): Candidates {
  const kinds = Object.entries(scales);
  const projections = blocks(12).flatMap((block) => kinds.map(([kind, scale]) => projection(block, kind, scale)));
  return { projections, factored: true, parts: [] };
}

/** The candidates as they are where only the kinds that pilots use are measured in the other blocks. */
function piloted(candidates: Candidates, keep: number): Candidates {
  const pilots = pilotsOf(blocks(12));
  const kinds = kindsUsed(auto, candidates, pilots, { keep, rankMultiple: 1 });
  const projections = candidates.projections.map((candidate) => {
    const { losses: _, measured: __, ...unmeasured } = candidate;
    return pilots.has(candidate.block) || kinds.has(kindOf(candidate)) ? candidate : unmeasured;
  });
  return { ...candidates, projections };
}

describe("auto with pilots", () => {
  test("chooses as with everything measured, where pilots use every kind", () => {
    const candidates = model({ q_proj: 1, k_proj: 1.1, up_proj: 1.3 });
    for (const keep of [0.4, 0.6, 0.8]) {
      const target = { keep, rankMultiple: 1 };
      expect(auto.allocate(piloted(candidates, keep), target)).toEqual(auto.allocate(candidates, target));
    }
  });

  test("asks neither the first block nor the last about the others", () => {
    const dear = model({ q_proj: 1e-3, up_proj: 1e6 });
    const [first, last] = [3, 14].map((block) => projection(block, "up_proj", 0));
    const projections = dear.projections.map((each) => [first, last].find((one) => one?.name === each.name) ?? each);
    const pilots = pilotsOf(blocks(12));
    const kinds = kindsUsed(auto, { ...dear, projections }, pilots, { keep: 0.8, rankMultiple: 1 });
    expect([...kinds]).toEqual(["q_proj"]);
    const { ranks } = auto.allocate(piloted({ ...dear, projections }, 0.8), { keep: 0.8, rankMultiple: 1 });
    expect([...ranks.keys()].filter((name) => name.endsWith("up_proj"))).toEqual([first?.name, last?.name]);
  });

  test("never replaces a kind elsewhere that no pilot uses", () => {
    // Nothing of the dear kind is given up in a pilot; one outside that costs nothing stays as it is all the same.
    const dear = model({ q_proj: 1e-3, k_proj: 1e-3, up_proj: 1e6 });
    const cheap = projection(4, "up_proj", 0);
    const projections = dear.projections.map((each) => (each.name === cheap.name ? cheap : each));
    const target = { keep: 0.8, rankMultiple: 1 };
    const { ranks } = auto.allocate(piloted({ ...dear, projections }, 0.8), target);
    expect([...ranks.keys()].filter((name) => name.endsWith("up_proj"))).toEqual([]);
    expect(auto.allocate({ ...dear, projections }, target).ranks.has(cheap.name)).toBe(true);
  });
});

describe("parts between pilots", () => {
  const losses = Float64Array.of(8, 4, 2, 1, 0);
  const measured = (block: number, divergence: number) => ({ block, curve: { losses, measured: [{ at: 1, divergence }] } });
  const unmeasured = (block: number, scale = 1) => ({ block, curve: { losses: losses.map((x) => scale * x), measured: [] } });
  const divergences = (placed: ReturnType<typeof betweenPilots>) => placed.map(({ curve }) => curve.measured[0]?.divergence);

  test("cost a unit of their loss what lies between the pilots', and the outermost's beyond", () => {
    const placed = [unmeasured(0), measured(1, 4), unmeasured(2, 3), unmeasured(3), measured(5, 4 * 16), unmeasured(9)];
    const expected = [4, 4, 3 * 4 * 2, 4 * 4, 64, 64];
    divergences(betweenPilots(placed)).forEach((found, i) => {
      expect(found).toBeCloseTo(expected[i] as number, 12);
    });
  });

  test("are known exactly where KL / loss is a power of depth, and what was measured stays as it is", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.5, max: 2, noNaN: true }),
        fc.double({ min: 1e-6, max: 10, noNaN: true }),
        (growth, first) => {
          const truth = Array.from({ length: 12 }, (_, block) => measured(block, first * growth ** block));
          const known = truth.map((each) => ([0, 4, 11].includes(each.block) ? each : unmeasured(each.block)));
          betweenPilots(known).forEach(({ curve }, i) => {
            const expected = truth[i]?.curve.measured[0]?.divergence as number;
            expect(Math.abs((curve.measured[0]?.divergence as number) / expected - 1)).toBeLessThan(1e-12);
          });
        },
      ),
    );
  });

  test("stay unknown where no pilot was measured, or none lost anything", () => {
    const free = { block: 0, curve: { losses: losses.map(() => 0), measured: [{ at: 1, divergence: 0 }] } };
    expect(betweenPilots([free, unmeasured(1)])).toEqual([free, unmeasured(1)]);
  });
});
