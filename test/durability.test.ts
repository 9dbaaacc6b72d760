/** What a run survives: too little memory for its activations, a full disk, a model file that is cut while it is read. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { MemoryError, StorageError } from "../src/errors.ts";
import { inMemory, SpillFile } from "../src/models/streams.ts";
import { compress as run } from "../src/pipeline/compress.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { compressOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressPlan } from "../src/pipeline/results.ts";
import { scope, Tensor } from "../src/tensor/index.ts";
import { compress, PEQUOD, TEXT, temporary, weightBytes } from "./pequod.ts";

const out = (name: string) => join(temporary(name), "out");
afterEach(() => vi.restoreAllMocks());

describe("activations on the disk", () => {
  test("are read as they were written, in places that are used again", () => {
    const path = join(temporary("spill"), "activations");
    const spill = new SpillFile(path);
    scope(() => {
      const matrix = (start: number) =>
        Tensor.from(
          Float32Array.from({ length: 6 }, (_, i) => start + i),
          [2, 3],
        );
      const values = (x: Tensor) => [...x.toFloat32Array()];
      for (const holder of [inMemory, spill]) {
        const [a, b] = [holder.hold(matrix(0)), holder.hold(matrix(10))];
        a.set(matrix(20));
        b.dispose();
        const c = holder.hold(matrix(30));
        expect([a, c].map((held) => values(held.read())[0])).toEqual([20, 30]);
      }
      expect(statSync(path).size).toBe(2 * 6 * 4);
    });
    spill.close();
    expect(existsSync(path)).toBe(false);
  });

  test.each([
    ["svd-llm", "original"],
    ["svd-llm", "compressed"],
    ["aa-svd", "compressed"],
  ] as const)("give the bytes that memory gives, %s, %s propagation", async (method, propagate) => {
    vi.spyOn(process.memoryUsage, "rss").mockReturnValue(1e8);
    const options = { method, propagate, samples: 16 };
    const whole = { ...options, model: PEQUOD, calibration: [TEXT], window: 128, dryRun: true };
    const planOf = async (memoryBytes?: number) =>
      (await run(parseOptions(compressOptions, { ...whole, memoryBytes, out: out("plan") }), silentJob)) as CompressPlan;
    const { peakBytes } = await planOf();
    const tight = peakBytes - 16 * 128 * 256 * 4;
    expect(await planOf(tight)).toMatchObject({ activations: "disk" });
    const [held, spilled] = [out("held"), out("spilled")];
    await compress({ out: held, ...options });
    await compress({ out: spilled, ...options, memoryBytes: tight });
    expect(weightBytes(spilled).equals(weightBytes(held))).toBe(true);
    expect(existsSync(join(spilled, "activations"))).toBe(false);
    await expect(compress({ out: out("no"), ...options, memoryBytes: 1.2e8 })).rejects.toThrow(MemoryError);
  });
});

/** Milliseconds: gradients take four times a forward pass, on a machine that does other things too. */
const PATIENCE = 300_000;

/** Peak memory is measured in a process of its own. */
function cli(...args: string[]) {
  const { stdout, stderr } = spawnSync(process.execPath, ["bin/rankfold.js", ...args, "--json", "--quiet"], { encoding: "utf8" });
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout);
}

test.each(["svd", "nsvd-i", "rom", "kfac", "aa-svd"])(
  "the peak memory of %s is predicted within 20 %",
  (method) => {
    const args = ["compress", PEQUOD, "--method", method, "--calibration", TEXT, "--samples", "32", "--window", "256"];
    const { peakBytes } = cli(...args, "-o", out("plan"), "--dry-run");
    const { peakRssBytes } = cli(...args, "-o", out("peak"));
    expect(peakBytes / peakRssBytes).toBeGreaterThan(0.8);
    expect(peakBytes / peakRssBytes).toBeLessThan(1.2);
  },
  PATIENCE,
);

/** A disk of its own, so small that it fills; undefined where this user may not mount one. */
function smallDisk(bytes: number) {
  const path = temporary("disk");
  const mount = (...args: string[]) => spawnSync("mount", args).status === 0;
  if (process.platform !== "linux" || !mount("-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path)) return undefined;
  return {
    path,
    grow: (larger: number) => mount("-o", `remount,size=${larger}`, path),
    remove: () => spawnSync("umount", [path]),
  };
}

const disk = smallDisk(7e6);

test.skipIf(!disk)(
  "a full disk keeps the finished blocks, and once there is room the run goes on to the same bytes",
  async () => {
    const { path, grow, remove } = disk as NonNullable<typeof disk>;
    try {
      const [whole, full] = [out("whole"), join(path, "out")];
      await compress({ out: whole });
      const failed = compress({ out: full });
      await expect(failed).rejects.toThrow(StorageError);
      await expect(failed).rejects.toThrow(/[1-5] of 6 blocks are saved.*--resume/);
      expect(existsSync(full)).toBe(false);
      await expect(compress({ out: full, resume: true })).rejects.toThrow(StorageError);
      grow(64e6);
      await compress({ out: full, resume: true });
      expect(weightBytes(full).equals(weightBytes(whole))).toBe(true);
    } finally {
      remove();
    }
  },
);

test("a model file that is cut while it is read leaves the finished blocks for --resume", async () => {
  const [model, whole, broken] = [temporary("cut"), out("whole"), out("broken")];
  cpSync(PEQUOD, model, { recursive: true });
  const file = join(model, "model.safetensors");
  const bytes = readFileSync(file);
  utimesSync(file, 1e9, 1e9);
  await compress({ model, out: whole });
  let seen = 0;
  const job: Job = { ...silentJob, checkpoint: () => void (++seen === 20 && truncateSync(file, bytes.length / 2)) };
  await expect(compress({ model, out: broken }, job)).rejects.toThrow(/cut short.*blocks are saved/);
  writeFileSync(file, bytes);
  utimesSync(file, 1e9, 1e9);
  await compress({ model, out: broken, resume: true });
  expect(weightBytes(broken).equals(weightBytes(whole))).toBe(true);
});
