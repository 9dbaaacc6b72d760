/**
 * Where a command's time goes: the seconds and the share of every operation of the engine, and what is left to TypeScript.
 *
 *   node bench/profile.mjs evaluate MODEL --text TEXT [--window 1024] [--windows 20]
 *   node bench/profile.mjs compress MODEL --text TEXT [--method svd-llm] [--allocate auto] [--samples 128] [--window 512]
 *   node bench/profile.mjs refine FOLDER --against MODEL --text TEXT [--steps 12] [--window 512]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { need, table } from "./common.mjs";

process.env.RAYON_NUM_THREADS ??= String(availableParallelism());
const { native } = await import("../dist/tensor/native.js");
const { commands } = await import("../dist/pipeline/commands.js");
const { silentJob } = await import("../dist/pipeline/job.js");
const options = await import("../dist/pipeline/options.js");

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: "string" },
    method: { type: "string", default: "svd-llm" },
    allocate: { type: "string" },
    samples: { type: "string", default: "128" },
    window: { type: "string" },
    windows: { type: "string", default: "20" },
    against: { type: "string" },
    steps: { type: "string", default: "12" },
  },
});
const usage = "node bench/profile.mjs evaluate|compress|refine MODEL --text TEXT";
const [command, model, text] = [...positionals, need(values.text, usage)];

const spent = new Map();

function clocked(name, run) {
  return function (...args) {
    const start = performance.now();
    try {
      return run.apply(this, args);
    } finally {
      const { seconds = 0, calls = 0 } = spent.get(name) ?? {};
      spent.set(name, { seconds: seconds + (performance.now() - start) / 1000, calls: calls + 1 });
    }
  };
}

/** Products are told apart by their widths: the head is one, the MLP's another. */
function clockedProduct(run) {
  return function (other) {
    const [k, n] = other.shape;
    return clocked(`matmul, t x ${k} times ${k} x ${n}`, run).call(this, other);
  };
}

for (const [name, value] of Object.entries(native)) {
  if (!/^[A-Z]/.test(name)) {
    native[name] = clocked(name, value);
    continue;
  }
  for (const [method, { value: run }] of Object.entries(Object.getOwnPropertyDescriptors(value.prototype))) {
    if (method === "constructor" || typeof run !== "function") continue;
    value.prototype[method] = method === "matmul" ? clockedProduct(run) : clocked(`${name}.${method}`, run);
  }
}

const work = mkdtempSync(join(tmpdir(), "rankfold-profile-"));
const shared = { model, window: Number(values.window ?? (command === "evaluate" ? 1024 : 512)) };
const settings = {
  evaluate: () => options.parseOptions(options.evaluateOptions, { ...shared, texts: [text], maxWindows: Number(values.windows) }),
  compress: () => {
    const given = { ...shared, method: values.method, allocate: values.allocate, samples: Number(values.samples) };
    return options.parseOptions(options.compressOptions, { ...given, calibration: [text], out: join(work, "out") });
  },
  refine: () => {
    const given = { ...shared, against: need(values.against, usage), steps: Number(values.steps) };
    return options.parseOptions(options.refineOptions, { ...given, calibration: [text], out: join(work, "out") });
  },
};
const start = performance.now();
await commands[command](need(settings[command], usage)(), silentJob);
const total = (performance.now() - start) / 1000;
rmSync(work, { recursive: true });

const percent = (seconds) => `${((100 * seconds) / total).toFixed(1)} %`;
const sorted = [...spent].sort(([, a], [, b]) => b.seconds - a.seconds).slice(0, 25);
const inside = [...spent.values()].reduce((sum, { seconds }) => sum + seconds, 0);
const rows = sorted.map(([name, { seconds, calls }]) => [name, calls, seconds.toFixed(2), percent(seconds)]);
rows.push(["outside the engine", "", (total - inside).toFixed(2), percent(total - inside)]);
console.log(table(["operation", "calls", "seconds", "share"], rows));
console.log(`${total.toFixed(1)} s in all`);
