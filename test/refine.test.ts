import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { InterruptedError, MemoryError, UsageError } from "../src/errors.ts";
import { compressRefined } from "../src/pipeline/compress-refined.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { compressOptions, parseOptions, type RefineOptions, refineOptions } from "../src/pipeline/options.ts";
import { refine as run } from "../src/pipeline/refine.ts";
import type { CompressResult } from "../src/pipeline/results.ts";
import { compress, PEQUOD, TEXT, temporary, weightBytes } from "./pequod.ts";

// Several whole runs a test: seconds each alone, more on a busy machine.
vi.setConfig({ testTimeout: 180_000 });

const out = (name: string) => join(temporary(name), "out");

const compressed = out("compressed");
await compress({ out: compressed, keep: 0.6 });

/** Three steps on 14 windows of 64 tokens, two held back. */
function refine(options: Partial<RefineOptions> & { out: string }, job: Job = silentJob) {
  const given = {
    model: compressed,
    against: PEQUOD,
    calibration: TEXT,
    window: 64,
    samples: 16,
    steps: 3,
    learningRate: 1e-3,
    ...options,
  };
  return run(parseOptions(refineOptions, given), job);
}

describe("refine", () => {
  const whole = out("whole");

  test("comes closer to the dense model on text that it did not see, and keeps the size", async () => {
    const result = await refine({ out: whole });
    expect(result).toMatchObject({ steps: 3, bestStep: 3, windows: 14, heldBack: 2 });
    expect(result.divergence.after).toBeLessThan(0.95 * result.divergence.before);
    expect(weightBytes(whole).length).toBe(weightBytes(compressed).length);
    expect(readdirSync(whole).sort()).toEqual(readdirSync(compressed).sort());
    const manifest = JSON.parse(readFileSync(join(whole, "rankfold.json"), "utf8"));
    expect(manifest).toMatchObject({ method: "svd-llm", refinement: { level: "model", steps: 3 } });
    expect(readFileSync(join(whole, "README.md"), "utf8")).toContain("| refined |");
  });

  test.each([
    ["block", 18, 16],
    ["closed-form", 6, 100], // least squares need many more tokens than a projection has inputs
  ] as const)("%s: block by block it comes closer too", async (level, steps, samples) => {
    const result = await refine({ out: out(level), level, samples, learningRate: 2e-4 });
    expect(result).toMatchObject({ level, steps, bestStep: steps });
    expect(result.divergence.after).toBeLessThan(result.divergence.before);
  });

  test.each(["model", "block"] as const)("%s: an interrupted refinement goes on to the same bytes", async (level) => {
    const [unbroken, broken] = [level === "model" ? whole : out("unbroken"), out("broken")];
    if (level === "block") await refine({ out: unbroken, level });
    let isEnough = false;
    const impatient: Job = {
      ...silentJob,
      progress({ stage, done }) {
        isEnough ||= stage === "refine" && done === (level === "model" ? 1 : 4); // in the second step, or block
      },
      checkpoint() {
        if (isEnough) throw new InterruptedError("interrupted");
      },
    };
    await expect(refine({ out: broken, level }, impatient)).rejects.toThrow(/^interrupted: step [13] is saved/);
    await expect(refine({ out: broken, level })).rejects.toThrow("--resume");
    await expect(refine({ out: broken, level, resume: true, learningRate: 2e-3 })).rejects.toThrow("learningRate");
    await refine({ out: broken, level, resume: true });
    expect(weightBytes(broken).equals(weightBytes(unbroken))).toBe(true);
    expect(existsSync(`${broken}.refinement`)).toBe(false);
  });

  test("gives back the very weights it got where none are better", async () => {
    const folder = out("worse");
    const result = await refine({ out: folder, learningRate: 0.05, steps: 2 });
    expect(result).toMatchObject({ bestStep: 0 });
    expect(result.divergence.after).toBe(result.divergence.before);
    expect(weightBytes(folder).equals(weightBytes(compressed))).toBe(true);
  });

  test("needs the dense model, one that was compressed, enough text and enough memory", async () => {
    await expect(refine({ out: out("a"), against: compressed })).rejects.toThrow(UsageError);
    await expect(refine({ out: out("b"), model: PEQUOD })).rejects.toThrow("compress the model first");
    await expect(refine({ out: out("c"), window: 100_000 })).rejects.toThrow(UsageError);
    await expect(refine({ out: out("d"), memoryBytes: 1e8 })).rejects.toThrow(MemoryError);
  });
});

// nid-i stores an identity inside its factors, modegpt rotary pairs of each head's own.
test.each(["nid-i", "modegpt"])(
  "compress --method %s --refine writes the refined model alone, and says what it gained",
  async (method) => {
    const folder = out("both");
    const given = { model: PEQUOD, out: folder, method, keep: 0.6, calibration: TEXT, samples: 6, window: 64 };
    const options = parseOptions(compressOptions, { ...given, refine: "model", refineSteps: 2 });
    const { refinement } = (await compressRefined(options, silentJob)) as CompressResult;
    expect(refinement?.divergence.after).toBeLessThan(refinement?.divergence.before as number);
    expect(existsSync(`${folder}.unrefined`)).toBe(false);
    expect(readdirSync(folder)).toContain("model.safetensors");
  },
);
