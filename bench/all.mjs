/**
 * Every benchmark of minutes, one after the other, into docs/performance.md:
 *
 *   npm run bench -- MODEL TEXT --python PYTHON
 *
 * Without a model those that need one are left out. The heavy ones, bench/blocks.mjs and bench/kills.mjs, are started alone.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fail, ROOT } from "./common.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { python: { type: "string", default: "python3" } },
});
const [model, text] = positionals;
const peer = ["--python", values.python];
const programs = [["kernels.mjs"], ["scaling.mjs"]];
if (model && text) programs.push(["compress.mjs", model, text, ...peer], ["evaluate.mjs", model, text, ...peer]);
if (model) programs.push(["generate.mjs", model, ...peer]);
for (const [program, ...args] of programs) {
  const { status } = spawnSync(process.execPath, [join(ROOT, "bench", program), ...args], { stdio: "inherit" });
  if (status !== 0) fail(`bench/${program} failed`);
}
