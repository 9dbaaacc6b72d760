import { describe, expect, test } from "vitest";
import { compressOptions, evaluateOptions, generateOptions, pushOptions } from "../pipeline/options.ts";
import { calibrateOptions, sweepOptions } from "../pipeline/sweep-options.ts";
import { COMPRESS, EVALUATE, GENERATE, MEMORY, THREADS } from "./options.ts";
import { PUSH } from "./push.ts";
import { CALIBRATE, MERGE, SWEEP } from "./sweep-options.ts";

/** Options that the command line spells otherwise than the library. */
const SPELLED = new Map([
  ["memory", "memoryBytes"],
  ["text", "texts"],
]);

describe("every option of the library has a flag on the command line, and the other way round", () => {
  test.each([
    ["compress", compressOptions, [...COMPRESS, THREADS, MEMORY]],
    ["evaluate", evaluateOptions, [...EVALUATE, THREADS, MEMORY]],
    ["generate", generateOptions, [...GENERATE, THREADS]],
    ["calibrate", calibrateOptions, [...CALIBRATE, THREADS, MEMORY]],
    ["push", pushOptions, [...PUSH, { attributeName: () => "out" }, { attributeName: () => "repo" }]],
    ["sweep", sweepOptions, [...SWEEP, THREADS, MEMORY]],
  ])("%s", (_command, schema, options) => {
    const flags = options.map((option) => SPELLED.get(option.attributeName()) ?? option.attributeName());
    expect(new Set([...("model" in schema.shape ? ["model"] : []), ...flags])).toEqual(new Set(Object.keys(schema.shape)));
  });
});

test("every flag says what it is for", () => {
  const all = [...COMPRESS, ...EVALUATE, ...GENERATE, ...CALIBRATE, ...MERGE, ...SWEEP, ...PUSH, THREADS, MEMORY];
  for (const option of all) expect(option.description).not.toBe("");
});
