import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("../scripts/check-imports.mjs", import.meta.url));
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** Runs the check over a tree of sources that exists for this alone. */
function check(sources: Record<string, string>) {
  const root = mkdtempSync(join(tmpdir(), "rankfold-imports-"));
  folders.push(root);
  for (const [path, text] of Object.entries(sources)) {
    mkdirSync(dirname(join(root, "src", path)), { recursive: true });
    writeFileSync(join(root, "src", path), text);
  }
  const { status, stderr } = spawnSync(process.execPath, [SCRIPT, root], { encoding: "utf8" });
  return { status, stderr };
}

describe("check-imports", () => {
  test.each([
    ["downwards", "cli/main.ts", 'import { x } from "../errors.ts";'],
    ["within a folder", "models/llama.ts", 'import { x } from "./config.ts";'],
    ["a sibling's contract", "evaluate/perplexity.ts", 'import type { x } from "../models/model.ts";'],
    ["the tensor façade", "methods/svd.ts", 'import { svd } from "../tensor/index.ts";'],
    ["the engine, from tensor", "tensor/native.ts", 'import type * as b from "../../native/binding.d.ts";'],
    ["anything, from the public API", "index.ts", 'export { x } from "./pipeline/compress.ts";'],
    ["anything, from a test", "methods/svd.test.ts", 'import { x } from "../pipeline/compress.ts"; throw new Error("x");'],
  ])("allows %s", (_what, path, text) => {
    expect(check({ [path]: text })).toEqual({ status: 0, stderr: "" });
  });

  test.each([
    ["a layer above", "methods/svd.ts", 'import { x } from "../pipeline/job.ts";', "a layer above"],
    ["upwards over several lines", "tensor/nn.ts", 'import {\n  x,\n} from "../models/model.ts";', "a layer above"],
    ["a sibling's own file", "evaluate/perplexity.ts", 'import { x } from "../models/llama.ts";', "no contract file"],
    ["a dynamic import upwards", "formats/gguf.ts", 'await import("../cli/main.ts");', "a layer above"],
    ["an import for its effect", "formats/gguf.ts", 'import "../cli/main.ts";', "a layer above"],
    ["the engine, from elsewhere", "methods/svd.ts", 'import x from "../../native/binding.d.ts";', "only src/tensor"],
    ["the inside of tensor", "methods/svd.ts", 'import { native } from "../tensor/native.ts";', "tensor/index.ts instead"],
    ["a bare Error", "methods/svd.ts", 'throw new Error("no");', "bare Error"],
    ["an unknown folder", "misc/help.ts", "export const x = 1;", "without a layer"],
    ["a long file", "methods/svd.ts", "// line\n".repeat(501), "501 lines"],
  ])("refuses %s", (_what, path, text, problem) => {
    const { status, stderr } = check({ [path]: text });
    expect(status).toBe(1);
    expect(stderr).toContain(`src/${path} `);
    expect(stderr).toContain(problem);
  });
});
