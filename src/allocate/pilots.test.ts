import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Candidates, ProjectionCandidate } from "./allocator.ts";
import { auto } from "./auto.ts";
import { kindOf } from "./kind.ts";
import { kindsUsed, pilotsOf } from "./pilots.ts";

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
