import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { FolderCheckpoint } from "../formats/folder.ts";
import { readJson } from "../formats/json.ts";
import { scope } from "../tensor/index.ts";
import { disposeBatches, forwardWindows, logitsOf, readHead } from "./forward.ts";
import type { Model } from "./load.ts";
import { parseModelConfig } from "./registry.ts";
import { checkTensors, modelTensors } from "./weights.ts";

const golden = fileURLToPath(new URL("../../test/golden/llama", import.meta.url));
const cases = readdirSync(golden, { withFileTypes: true }).filter((entry) => entry.isDirectory());

/** Logits of every position of every sequence, in order. */
function logits(folder: string, sequences: number[][]): number[] {
  const checkpoint = FolderCheckpoint.open(folder);
  const parsed = parseModelConfig(readJson(`${folder}/config.json`));
  checkTensors(folder, checkpoint, modelTensors(parsed.architecture, parsed.config), parsed.config);
  const model = { ...parsed, checkpoint } as unknown as Model;
  return scope(() => {
    const batches = forwardWindows(
      model,
      sequences.map((ids) => Uint32Array.from(ids)),
    );
    const head = readHead(model);
    const all = batches.flatMap(({ stream }) => [...logitsOf(model, head, stream.read()).toFloat32Array()]);
    disposeBatches(batches);
    return all;
  });
}

describe("logits of small random models agree with transformers", () => {
  test.each(cases.map(({ name }) => name))("%s", (name) => {
    const folder = `${golden}/${name}`;
    const { sequences, input_ids: ids } = JSON.parse(readFileSync(`${folder}/input.json`, "utf8"));
    const bytes = readFileSync(`${folder}/logits.bin`);
    const expected = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const got = logits(folder, sequences ?? ids);
    expect(got.length).toBe(expected.length);
    const scale = Math.max(...expected.map(Math.abs));
    const worst = got.reduce((max, value, i) => Math.max(max, Math.abs(value - (expected[i] as number))), 0);
    // f32 sums of a few hundred terms: 1e-4 of the scale is three digits above their rounding.
    expect(worst / scale).toBeLessThan(1e-4);
  });
});
