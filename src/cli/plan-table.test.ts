import { expect, test } from "vitest";
import { countKinds, renderBlocks } from "./plan-table.ts";

const planned = (block: number, kind: string, chosen: { rank: number | null; width?: number }) => {
  return { name: `model.layers.${block}.mlp.${kind}`, rows: 64, columns: 32, ...chosen };
};

test("equal blocks share a row; a cell is a rank, a width or dense", () => {
  const projections = [0, 1, 2].flatMap((block) => [
    planned(block, "up_proj", block < 2 ? { rank: 12 } : { rank: null, width: 40 }),
    planned(block, "down_proj", block < 2 ? { rank: null } : { rank: null, width: 40 }),
  ]);
  expect(renderBlocks(projections)).toBe(
    [
      "block   up_proj  down_proj",
      "-----  --------  ---------",
      "        64 x 32    64 x 32",
      "  0-1        12      dense",
      "    2  width 40   width 40",
      "",
    ].join("\n"),
  );
  expect(countKinds(projections)).toBe("2 projections factored, 2 narrower, 2 dense");
});

test("what is not listed is dense", () => {
  const projections = [planned(0, "up_proj", { rank: 12 }), planned(2, "down_proj", { rank: 9 })];
  expect(renderBlocks(projections).split("\n").slice(3, -1)).toEqual([
    "    0       12      dense",
    "    1    dense      dense",
    "    2    dense          9",
  ]);
});
