/** `compress --method modegpt`: written models have per-block sizes and run wherever others do. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { InterruptedError, UsageError } from "../src/errors.ts";
import { readJson } from "../src/formats/json.ts";
import { loadModel, type Model } from "../src/models/load.ts";
import type { Job } from "../src/pipeline/job.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { logitsOfTokens } from "../src/pipeline/verify-export.ts";
import { compress, temporary, weightBytes } from "./pequod.ts";

const root = temporary("modegpt");
const out = (name: string) => join(root, name);
const modegpt = { method: "modegpt", keep: 0.7 } as const;

describe("modegpt", () => {
  let model: Model;
  beforeAll(async () => {
    await compress({ out: out("influence"), ...modegpt, allocate: "influence" });
    model = await loadModel(out("influence"));
  }, 60_000);

  test("keeps what was asked for, no projection factored, blocks of different sizes", async () => {
    const { keptProjections } = readJson(join(out("influence"), "rankfold.json")) as { keptProjections: number };
    expect(keptProjections).toBeLessThanOrEqual(0.7);
    expect(keptProjections).toBeGreaterThan(0.69);
    const config = readJson(join(out("influence"), "config.json"));
    expect(config.projection_ranks).toEqual({});
    expect(new Set([...model.config.widths.values()].map(({ channels }) => channels)).size).toBeGreaterThan(1);
    for (const [block, { queryKey = 0 }] of model.config.widths) {
      expect(model.config.ropePairs.get(block)?.map((pairs) => pairs.length)).toEqual(Array(4).fill(queryKey / 2));
    }
  });

  test("continued after a kill is the same, byte by byte", async () => {
    const options = { ...modegpt, propagate: "compressed" } as const;
    await compress({ out: out("whole"), ...options });
    let checks = 0;
    const stop: Job = {
      ...silentJob,
      checkpoint() {
        checks++;
        if (checks > 15) throw new InterruptedError("killed");
      },
    };
    await expect(compress({ out: out("broken"), ...options }, stop)).rejects.toThrow(InterruptedError);
    await compress({ out: out("broken"), ...options, resume: true });
    expect(weightBytes(out("broken")).equals(weightBytes(out("whole")))).toBe(true);
  }, 120_000);

  test("an allocator that chooses ranks alone is refused by name", async () => {
    await expect(compress({ out: out("strs"), ...modegpt, allocate: "strs" })).rejects.toThrow(UsageError);
  });
});

test("auto may choose narrower heads beside factors, in one model that runs", async () => {
  const { projections } = await compress({
    out: out("auto"),
    allocate: "auto",
    keep: 0.4,
    method: "svd-llm",
    include: "layers.1",
  });
  expect(projections.some(({ rank }) => rank !== null)).toBe(true);
  expect(projections.some(({ width }) => width !== undefined)).toBe(true);
  const model = await loadModel(out("auto"));
  expect(logitsOfTokens(model, Uint32Array.of(5, 6, 7)).every(Number.isFinite)).toBe(true);
}, 120_000);
