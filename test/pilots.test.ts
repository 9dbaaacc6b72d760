/** What `auto` measures: kinds that pilot blocks use, once. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { pilotsOf } from "../src/allocate/pilots.ts";
import { calibrate } from "../src/pipeline/calibrate.ts";
import { compress as run } from "../src/pipeline/compress.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { compressOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressPlan } from "../src/pipeline/results.ts";
import { calibrateOptions } from "../src/pipeline/sweep-options.ts";
import { PEQUOD, TEXT, temporary } from "./pequod.ts";

/** Milliseconds: some passes over the blocks, on a machine that does other things too. */
const PATIENCE = 300_000;

const folder = temporary("pilots");
const statistics = join(folder, "statistics");
const others = [0, 1, 2, 3, 4, 5].filter((block) => !pilotsOf([0, 1, 2, 3, 4, 5]).has(block));

beforeAll(async () => {
  const options = { model: PEQUOD, out: statistics, calibration: [TEXT], samples: 4, window: 128 };
  await calibrate(parseOptions(calibrateOptions, options), silentJob);
}, PATIENCE);

/** What each projection becomes at a keep, and how many passes over the blocks it took to measure what was not known. */
async function plan(keep: number): Promise<{ readonly chosen: CompressPlan["projections"]; readonly passes: number }> {
  let passes = 0;
  const progress: typeof silentJob.progress = ({ stage, done }) => {
    if (stage.startsWith("measure") && done === 0) passes++;
  };
  const given = { model: PEQUOD, out: join(folder, "out"), method: "svd-llm", allocate: "auto", statistics, dryRun: true, keep };
  const planned = await run(parseOptions(compressOptions, given), { ...silentJob, progress });
  return { chosen: (planned as CompressPlan).projections, passes };
}

/** The kinds of module that the journal knows in these blocks. */
function measuredIn(blocks: readonly number[]): Set<string> {
  const file = readdirSync(statistics).find((name) => name.startsWith("measurements-")) as string;
  const lines = readFileSync(join(statistics, file), "utf8").trim().split("\n");
  const names = lines.map((line): string => JSON.parse(line).module).filter((name) => blocks.includes(Number(/\d+/.exec(name))));
  return new Set(names.map((name) => name.slice(name.lastIndexOf(".") + 1)));
}

test(
  "kinds that no pilot uses are not measured in the other blocks and stay dense there, and the journal says the same again",
  async () => {
    const first = await plan(0.9);
    expect(first.passes).toBeGreaterThan(0);
    const [everywhere, kinds] = [measuredIn([0, 5]), measuredIn(others)];
    expect(everywhere.size).toBe(10);
    expect(kinds.size).toBeLessThan(everywhere.size);
    for (const { name, rank } of first.chosen)
      if (others.includes(Number(/\d+/.exec(name))) && rank !== null) expect(kinds).toContain(name.split(".").at(-1));
    expect(await plan(0.9)).toEqual({ chosen: first.chosen, passes: 0 });
  },
  PATIENCE,
);

test(
  "another keep measures only what is missing, and changes nothing at the first",
  async () => {
    const first = await plan(0.9);
    await plan(0.2);
    expect((await plan(0.2)).passes).toBe(0);
    expect(await plan(0.9)).toEqual({ chosen: first.chosen, passes: 0 });
  },
  PATIENCE,
);
