import { expect, test } from "vitest";
import type { Candidates } from "./allocator.ts";
import { gainsOf } from "./gains.ts";

const losses = Float64Array.of(8, 4, 2, 1, 0);
const projection = (name: string) => ({ name, block: 0, rows: 4, columns: 6, losses });
const candidates: Candidates = {
  projections: [
    { ...projection("0.q_proj"), measured: [{ at: 1, divergence: 0.4 }] },
    { ...projection("1.q_proj"), measured: [{ at: 1, divergence: 0.8 }] },
    { ...projection("0.k_proj"), measured: [] },
    projection("0.up_proj"),
  ],
  factored: true,
  parts: [
    {
      ...{ block: 0, part: "channels", projections: ["0.up_proj"], width: 4, step: 1, parametersPerUnit: 6 },
      ...{ losses, measured: [{ at: 3, divergence: 0.1 }] },
    },
  ],
};

test("modules of a kind add up: what they save, and what they cost along their curves", () => {
  const ranks = new Map([
    ["0.q_proj", 1],
    ["1.q_proj", 2],
  ]);
  const [q, channels, ...others] = gainsOf(candidates, { ranks, widths: new Map([[0, { channels: 2 }]]) });
  // 4 x 6 values each become 10 and 20; divergences .4 and .8 * 2 / 4.
  expect(q).toMatchObject({ kind: "q_proj", becomes: "factors", modules: 2, parametersSaved: 14 + 4 });
  expect(q?.divergence).toBeCloseTo(0.8, 12);
  expect(channels).toMatchObject({ kind: "channels", becomes: "narrower", modules: 1, parametersSaved: 12 });
  expect(channels?.divergence).toBeCloseTo(0.2, 12);
  expect(others).toEqual([]);
});

test("nothing is predicted of what was not measured", () => {
  expect(gainsOf(candidates, { ranks: new Map([["0.k_proj", 1]]), widths: new Map() })).toEqual([
    { kind: "k_proj", becomes: "factors", modules: 1, parametersSaved: 14, divergence: null },
  ]);
});
