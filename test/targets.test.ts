import { cpSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { InterruptedError, UsageError } from "../src/errors.ts";
import { calibrate } from "../src/pipeline/calibrate.ts";
import { compress as run } from "../src/pipeline/compress.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { type CompressOptions, compressOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressPlan } from "../src/pipeline/results.ts";
import { calibrateOptions } from "../src/pipeline/sweep-options.ts";
import { PEQUOD, TEXT, temporary } from "./pequod.ts";

/** Milliseconds: several passes over the blocks, on a machine that does other things too. */
const PATIENCE = 300_000;

const folder = temporary("targets");
const statistics = join(folder, "statistics");

beforeAll(async () => {
  const options = { model: PEQUOD, out: statistics, calibration: [TEXT], samples: 4, window: 128 };
  await calibrate(parseOptions(calibrateOptions, options), silentJob);
}, PATIENCE);

async function plan(options: Partial<CompressOptions>, job: Job = silentJob): Promise<CompressPlan> {
  const given = { model: PEQUOD, out: join(folder, "out"), method: "svd-llm", statistics, dryRun: true, ...options };
  return (await run(parseOptions(compressOptions, given), job)) as CompressPlan;
}

/** A job that keeps its notes. */
function listening(): Job & { readonly notes: string[] } {
  const notes: string[] = [];
  return { ...silentJob, notes, note: (line) => notes.push(line) };
}

describe("--target-bytes", () => {
  test("finds the largest keep that fits, without computing anything", async () => {
    const targetBytes = 8_000_000;
    const { keep, bytesAfter } = await plan({ targetBytes, method: "svd", statistics: undefined });
    expect(bytesAfter).toBeLessThanOrEqual(targetBytes);
    const next = await plan({ keep: keep + 2e-3, method: "svd", statistics: undefined });
    expect(next.bytesAfter).toBeGreaterThan(targetBytes);
  });

  test("keeps everything where the dense model fits, and says the least there is where nothing does", async () => {
    const data = { method: "svd", statistics: undefined };
    expect(await plan({ targetBytes: 1e9, ...data })).toMatchObject({ keep: 1 });
    await expect(plan({ targetBytes: 1e6, ...data })).rejects.toThrow(/the least .* come to is \d+/);
  });
});

describe("--target-perplexity", () => {
  test(
    "takes the least keep that it measured to reach it, and says each step",
    async () => {
      const job = listening();
      const { keep } = await plan({ targetPerplexity: 80 }, job);
      const steps = job.notes.flatMap((note) => {
        const [, at, perplexity] = /^keep (.*): perplexity (.*)$/.exec(note) ?? [];
        return at ? [{ at: Number(at), perplexity: Number(perplexity) }] : [];
      });
      expect(steps).toHaveLength(12);
      expect(steps.find(({ at }) => at === keep)?.perplexity).toBeLessThanOrEqual(80);
      const below = steps.filter(({ at }) => at < keep).sort((a, b) => b.at - a.at)[0];
      expect(below?.perplexity).toBeGreaterThan(80);
      expect(keep - (below?.at as number)).toBeLessThan(0.01);
    },
    PATIENCE,
  );

  test("below the dense model's is refused with that", async () => {
    await expect(plan({ targetPerplexity: 1.5 })).rejects.toThrow(/the dense model has \d/);
  });
});

test("targets exclude --keep, one another, and allocators that search at every size", async () => {
  await expect(plan({ keep: 0.5, targetBytes: 8e6 })).rejects.toThrow(/--keep and --target-bytes/);
  await expect(plan({ targetPerplexity: 50, targetBytes: 8e6 })).rejects.toThrow(UsageError);
  await expect(plan({ targetText: TEXT })).rejects.toThrow(/--target-perplexity/);
  await expect(plan({ targetBytes: 8e6, allocate: "bolaco" })).rejects.toThrow(/bolaco/);
});

describe("a search over whole allocations", () => {
  const search = { allocate: "bolaco", trials: 12, keep: 0.6, include: "layers\\.[01]\\." };

  test(
    "that was killed goes on to the same choice, and knows what it tried",
    async () => {
      const copy = join(folder, "killed");
      cpSync(statistics, copy, { recursive: true });
      const whole = await plan({ ...search });
      let passes = 0;
      const count = (until: number): Job => ({
        ...silentJob,
        progress: ({ stage, done }) => {
          if (!stage.startsWith("try") || done > 0) return;
          if (++passes > until) throw new InterruptedError("interrupted");
        },
      });
      await expect(plan({ ...search, statistics: copy }, count(1))).rejects.toThrow(InterruptedError);
      passes = 0;
      const resumed = await plan({ ...search, statistics: copy }, count(9));
      expect(resumed.projections).toEqual(whole.projections);
      expect(passes).toBe(1);
      // Finished, it needs no pass at all.
      expect((await plan({ ...search, statistics: copy }, count(1))).projections).toEqual(whole.projections);
      expect(passes).toBe(1);
    },
    PATIENCE,
  );
});
