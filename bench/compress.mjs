/**
 * The whole job, calibrate, factorize and write, against the straightforward PyTorch script: alternating, in one run.
 *
 *   node bench/compress.mjs MODEL TEXT --python PYTHON [--rounds 3] [--methods svd-llm,nsvd-i] [--keep 0.8]
 *
 * PYTHON is an environment with bench/peers/requirements.txt, with the OPENBLAS_* variables unset. Prints a table of medians
 * and of the ratios, round by round; times of single rounds on a shared machine mean little.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    rounds: { type: "string", default: "3" },
    methods: { type: "string", default: "svd-llm" },
    keep: { type: "string", default: "0.8" },
  },
});
const [model, text] = positionals;
if (!model || !text) {
  console.error("usage: node bench/compress.mjs MODEL TEXT --python PYTHON");
  process.exit(2);
}

/** Seconds and peak resident bytes of one job that prints a JSON line. */
function measure(command, args, env = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", env: { ...process.env, ...env } });
  if (status !== 0) {
    console.error(stderr);
    process.exit(1);
  }
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
}

const work = mkdtempSync(join(tmpdir(), "rankfold-bench-"));
const clean = Object.fromEntries(["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"].map((name) => [name, undefined]));
const shared = (method) => ["--method", method, "--keep", values.keep, "--calibration", text, "--propagate", "original"];

function ours(method, round) {
  const out = join(work, `ours-${method}-${round}`);
  return measure(process.execPath, [
    join(root, "bin/rankfold.js"),
    "compress",
    model,
    "-o",
    out,
    ...shared(method),
    "--quiet",
    "--json",
  ]);
}

function theirs(method, round) {
  const out = join(work, `theirs-${method}-${round}.safetensors`);
  const threads = { OMP_NUM_THREADS: String(availableParallelism()) };
  return measure(values.python, [join(root, "bench/peers/reference.py"), "compress", model, out, ...shared(method)], {
    ...clean,
    ...threads,
  });
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

console.log(
  `${cpus()[0]?.model}, ${availableParallelism()} threads, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`,
);
for (const method of values.methods.split(",")) {
  const rounds = Array.from({ length: Number(values.rounds) }, (_, round) => ({
    ours: ours(method, round),
    theirs: theirs(method, round),
  }));
  for (const { ours: a, theirs: b } of rounds) {
    const peak = ({ peakRssBytes }) => `${(peakRssBytes / 1e6).toFixed(0)} MB`;
    const ratio = (a.seconds / b.seconds).toFixed(2);
    console.log(
      `${method}: rankfold ${a.seconds.toFixed(1)} s, ${peak(a)}; PyTorch ${b.seconds.toFixed(1)} s, ${peak(b)}; time ${ratio}`,
    );
  }
  const of = (who, what) => median(rounds.map((round) => round[who][what]));
  const time = of("ours", "seconds") / of("theirs", "seconds");
  const memory = of("ours", "peakRssBytes") / of("theirs", "peakRssBytes");
  console.log(`${method}: median time ${time.toFixed(2)} of PyTorch's, peak memory ${memory.toFixed(2)}`);
}
rmSync(work, { recursive: true });
