import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { PEQUOD, TEXT, temporary } from "./pequod.ts";

const argv = [...process.argv];
afterEach(() => {
  process.argv = [...argv];
  vi.restoreAllMocks();
});

/** What an example prints when it is run on the embedded model. */
async function printed(run: () => Promise<unknown>): Promise<string> {
  process.argv = ["node", "example", PEQUOD, TEXT, join(temporary("example"), "out")];
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line) => void lines.push(String(line)));
  vi.spyOn(console, "error").mockImplementation(() => {});
  await run();
  return lines.join("\n");
}

test("01-compress keeps a share of the model and prints both perplexities", async () => {
  const text = await printed(() => import("../examples/01-compress.ts"));
  expect(text).toMatch(/^kept 83\.\d % of the model: \d+ parameters/);
  expect(text.match(/perplexity \d+\.\d\d/g)).toHaveLength(2);
});

test("02-look-inside names the projections that lose most", async () => {
  const text = await printed(() => import("../examples/02-look-inside.ts"));
  expect(text).toMatch(/^42 projections will be factored/);
  expect(text.match(/rank \d+ loses \d+\.\d\d %/g)).toHaveLength(3);
});
