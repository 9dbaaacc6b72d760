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
