/** What `compress` does where method, allocator or statistics are left open. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { UsageError } from "../src/errors.ts";
import { calibrate } from "../src/pipeline/calibrate.ts";
import { compress as run } from "../src/pipeline/compress.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { type CompressOptions, compressOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressPlan } from "../src/pipeline/results.ts";
import { calibrateOptions } from "../src/pipeline/sweep-options.ts";
import { compress, PEQUOD, TEXT, temporary, weightBytes } from "./pequod.ts";

/** Milliseconds: passes over the blocks, on a machine that does other things too. */
const PATIENCE = 300_000;

const folder = temporary("recipe");
const at = (name: string) => join(folder, name);
const WINDOWS = { samples: 4, window: 128 };

async function plan(options: Partial<CompressOptions>): Promise<CompressPlan> {
  const given = { model: PEQUOD, out: at("planned"), dryRun: true, ...WINDOWS, ...options };
  return (await run(parseOptions(compressOptions, given), silentJob)) as CompressPlan;
}

test(
  "the default is kfac with auto, to the byte, and the files say so and what each kind gave up",
  async () => {
    const shared = { include: "layers\\.[25]\\.", keep: 0.6, ...WINDOWS };
    const made = await compress({ ...shared, out: at("default"), method: undefined });
    const explicit = await compress({ ...shared, out: at("explicit"), method: "kfac", allocate: "auto" });
    expect(weightBytes(at("default")).equals(weightBytes(at("explicit")))).toBe(true);
    expect(made).toMatchObject({ method: "kfac", allocate: "auto", recipe: expect.stringContaining("by default") });
    expect(explicit.recipe).toBe("as asked for");
    const saved = made.gains.reduce((sum, { parametersSaved }) => sum + parametersSaved, 0);
    expect(5475584 - made.parameters).toBe(saved);
    for (const { divergence } of made.gains) expect(divergence).toBeGreaterThan(0);
    expect(JSON.parse(readFileSync(join(at("default"), "rankfold.json"), "utf8"))).toMatchObject({ gains: made.gains });
    expect(readFileSync(join(at("default"), "README.md"), "utf8")).toContain(made.recipe);
  },
  PATIENCE,
);

describe("a plan without statistics", () => {
  test("is one of uniform sizes, which says that auto measures first; it needs no text", async () => {
    const { method, allocate, recipe, keptProjections, gains } = await plan({ keep: 0.7 });
    expect({ method, allocate }).toEqual({ method: "kfac", allocate: "auto" });
    expect(recipe).toMatch(/sizes are uniform here, for auto chooses them once it has measured/);
    expect(Math.abs(keptProjections - 0.7)).toBeLessThan(0.01);
    expect(gains.map(({ divergence }) => divergence)).toEqual(gains.map(() => null));
    expect(existsSync(at("planned.statistics"))).toBe(false);
  });

  test("takes uniform beside a method alone, and kfac beside an allocator alone", async () => {
    expect(await plan({ method: "asvd" })).toMatchObject({ method: "asvd", allocate: "uniform" });
    expect(await plan({ allocate: "last-blocks" })).toMatchObject({ method: "kfac", allocate: "last-blocks" });
  });

  test("cannot tell the size that reaches a perplexity", async () => {
    await expect(plan({ targetPerplexity: 60 })).rejects.toThrow(/measure first/);
  });
});

test("without a text nothing is made", async () => {
  const given = { out: at("none"), method: undefined, calibration: undefined };
  await expect(compress(given)).rejects.toThrow(/--calibration/);
  expect(existsSync(at("none"))).toBe(false);
});

describe("--statistics beside --calibration", () => {
  const options = { method: "svd-llm", allocate: "kl", include: "layers\\.1\\.", calibration: [TEXT], ...WINDOWS };

  test(
    "are made and kept, so that the same command measures nothing at another size",
    async () => {
      const stages: string[] = [];
      const job = { ...silentJob, progress: ({ stage }: { readonly stage: string }) => void stages.push(stage) };
      await compress({ ...options, out: at("first"), statistics: at("kept") }, job);
      expect(stages).toEqual(expect.arrayContaining(["calibrate", "measure 1/1"]));
      stages.length = 0;
      await compress({ ...options, out: at("second"), statistics: at("kept"), keep: 0.5 }, job);
      expect(new Set(stages)).toEqual(new Set(["tokenize", "compress"]));
      await compress({ ...options, out: at("alone"), keep: 0.5 });
      expect(weightBytes(at("second")).equals(weightBytes(at("alone")))).toBe(true);
    },
    PATIENCE,
  );

  test(
    "that hold no gradients make the default svd-llm, and say why",
    async () => {
      const given = { model: PEQUOD, out: at("plain"), calibration: [TEXT], ...WINDOWS };
      await calibrate(parseOptions(calibrateOptions, given), silentJob);
      const { method, allocate, recipe } = await plan({ statistics: at("plain"), include: "layers\\.1\\..*k_proj" });
      expect({ method, allocate }).toEqual({ method: "svd-llm", allocate: "auto" });
      expect(recipe).toContain("hold no gradients");
      const others = { statistics: at("plain"), calibration: [TEXT], samples: 5 };
      await expect(plan(others)).rejects.toThrow(UsageError);
      await expect(plan(others)).rejects.toThrow(/of another text or of other windows/);
    },
    PATIENCE,
  );
});
