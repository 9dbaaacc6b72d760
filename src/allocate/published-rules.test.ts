/** The claims of the rules that papers published, on small sets of projections. */
import { describe, expect, test } from "vitest";
import type { ProjectionCandidate, Target } from "./allocator.ts";
import { dRank } from "./d-rank.ts";
import { strs } from "./strs.ts";
import { svdLlmV2 } from "./svd-llm-v2.ts";

/** A projection whose singular values are `sigma`, with a divergence of `scale` times its loss. */
function projection(name: string, sigma: readonly number[], { rows = 64, columns = 64, scale = 1 } = {}): ProjectionCandidate {
  const losses = Float64Array.from({ length: sigma.length + 1 }, (_, k) =>
    sigma.slice(k).reduce((sum, value) => sum + value * value, 0),
  );
  const block = Number(/\d+/.exec(name)?.[0] ?? 0);
  return { name, block, rows, columns, losses, measured: [{ at: 16, divergence: scale * (losses[16] as number) }] };
}

/** sigma_i = size r^i: flat for r near 1. */
const geometric = (size: number, r: number) => Array.from({ length: 64 }, (_, i) => size * r ** i);

const target = (keep: number): Target => ({ keep, rankMultiple: 1 });
const ranksOf = (rule: typeof strs, projections: readonly ProjectionCandidate[], keep: number) =>
  rule.allocate({ projections, factored: true, parts: [] }, target(keep)).ranks;

describe("svd-llm-v2", () => {
  const q = [projection("0.q_proj", geometric(10, 0.95)), projection("1.q_proj", geometric(1000, 0.95))];
  const k = projection("0.k_proj", geometric(1e6, 0.95));

  test("removes |G| R l / sum l of each projection, l = 1 / ln L, within its type", () => {
    const R = 0.4;
    const uniform = Math.floor((1 - R) * 32);
    const l = q.map(({ losses }) => 1 / Math.log(Math.sqrt(losses?.[uniform] as number)));
    const expected = l.map((value) => Math.floor(32 * (1 - (2 * R * value) / ((l[0] as number) + (l[1] as number)))));
    const ranks = ranksOf(svdLlmV2, [...q, k], 1 - R);
    expect([ranks.get("0.q_proj"), ranks.get("1.q_proj")]).toEqual(expected);
    expect(expected[1]).toBeGreaterThan(expected[0] as number);
    // The only one of its type: uniform, whatever it loses.
    expect(ranks.get("0.k_proj")).toBe(uniform);
  });

  test("stays within the size where the logarithm turns over", () => {
    const tiny = [projection("0.q_proj", geometric(1e-3, 0.9)), projection("1.q_proj", geometric(1e4, 0.95))];
    const kept = [...ranksOf(svdLlmV2, tiny, 0.3).values()].reduce((sum, rank) => sum + rank * 128, 0);
    expect(kept).toBeLessThanOrEqual(0.3 * 2 * 64 * 64);
  });
});

describe("d-rank", () => {
  test("gives sqrt(R) times the rank to R times the effective rank, for equal shapes", () => {
    // 16 and 64 equal singular values have effective ranks 16 and 64.
    const flat = (n: number) => Array.from({ length: 64 }, (_, i) => (i < n ? 1 : 0));
    const ranks = ranksOf(dRank, [projection("0.up_proj", flat(16)), projection("1.up_proj", flat(64))], 0.6);
    const unit = (0.6 * 2 * 4096) / 128 / 3;
    expect([ranks.get("0.up_proj"), ranks.get("1.up_proj")]).toEqual([Math.floor(unit), Math.floor(2 * unit)]);
  });

  test("moves what q and k give to v in stored values, since v of grouped queries is smaller", () => {
    const sigma = geometric(1, 0.97);
    const small = { rows: 32, columns: 64 };
    const attention = [
      projection("0.q_proj", sigma),
      projection("0.k_proj", sigma.slice(0, 32), small),
      projection("0.v_proj", sigma.slice(0, 32), small),
    ];
    const alone = ranksOf(
      dRank,
      attention.map((p) => ({ ...p, name: p.name.replace("q_proj", "a").replace("k_proj", "b") })),
      0.4,
    );
    const together = ranksOf(dRank, attention, 0.4);
    const stored = (ranks: ReadonlyMap<string, number>, q: string, k: string) =>
      (ranks.get(q) as number) * 128 + (ranks.get(k) as number) * 96;
    const given = stored(alone, "0.a", "0.b") - stored(together, "0.q_proj", "0.k_proj");
    const got = ((together.get("0.v_proj") as number) - (alone.get("0.v_proj") as number)) * 96;
    // Ranks are rounded down, by less than one each.
    expect(Math.abs(given - 0.3 * stored(alone, "0.a", "0.b"))).toBeLessThan(128 + 96);
    expect(Math.abs(given - got)).toBeLessThan(128 + 2 * 96);
  });

  test("does not give v more than it has", () => {
    const all = ["q", "k", "v", "o"].map((kind) => projection(`0.${kind}_proj`, geometric(1, 0.97)));
    expect(ranksOf(dRank, all, 0.95).has("0.v_proj")).toBe(false);
  });
});

describe("strs", () => {
  const projections = [0, 1, 2, 3].map((i) => projection(`${i}.up_proj`, geometric(1, 0.95), { scale: 10 ** i }));

  test("truncates the least sensitive most, and none out of order", () => {
    const ranks = ranksOf(strs, projections, 0.6);
    const kept = projections.map(({ name }) => ranks.get(name) ?? 64);
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
    expect(kept[0]).toBeLessThan(kept[3] as number);
  });

  test("applies every truncation that costs less than one it applies", () => {
    const ranks = ranksOf(strs, projections, 0.6);
    const cost = (i: number, rank: number) => 10 ** i * ((projections[i] as ProjectionCandidate).losses?.[rank] as number);
    const dearest = Math.max(...projections.map(({ name }, i) => cost(i, ranks.get(name) ?? 64)));
    for (const [i, { name }] of projections.entries()) {
      const next = [3, 6, 9, 12, 16, 19, 22, 25, 28].findLast((rank) => rank < (ranks.get(name) ?? 64));
      if (next !== undefined) expect(cost(i, next)).toBeGreaterThanOrEqual(dearest);
    }
  });

  test("leaves everything dense at keep 1", () => {
    expect(ranksOf(strs, projections, 1).size).toBe(0);
  });
});
