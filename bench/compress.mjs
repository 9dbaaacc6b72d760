/**
 * The whole job, calibrate, factorize and write, against the straightforward PyTorch script: alternating, in one run.
 *
 *   node bench/compress.mjs MODEL TEXT --python PYTHON [--rounds 3] [--methods svd-llm,nsvd-i,rom] [--keep 0.8] [--samples 128]
 *
 * PYTHON is an environment with bench/peers/requirements.txt. Times of single rounds on a shared machine mean little.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gemmPeakApart, median, megabytes, need, peer, publish, rankfold, table, typed } from "./common.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    rounds: { type: "string", default: "3" },
    methods: { type: "string", default: "svd-llm,nsvd-i,rom" },
    keep: { type: "string", default: "0.8" },
    samples: { type: "string", default: "128" },
  },
});
const usage = "node bench/compress.mjs MODEL TEXT --python PYTHON";
const [model, text] = [need(positionals[0], usage), need(positionals[1], usage)];
const work = mkdtempSync(join(tmpdir(), "rankfold-bench-"));

const shared = (method) => [
  ...["--method", method, "--keep", values.keep, "--calibration", text],
  ...["--samples", values.samples, "--propagate", "original"],
];
/** The peer's rom is the affine one. */
const own = (method) => (method === "rom" ? ["--center", "mean"] : []);

function round(method, number) {
  const out = join(work, `${method}-${number}`);
  const ours = rankfold("compress", model, "-o", out, ...shared(method), ...own(method), "--quiet");
  const theirs = peer(values.python, "compress", model, `${out}.safetensors`, ...shared(method));
  for (const made of [out, `${out}.safetensors`]) rmSync(made, { recursive: true, force: true });
  return { ours, theirs };
}

const stagesOf = ({ stages }) => Object.entries(stages).map(([stage, s]) => `${stage} ${s.toFixed(1)}`);

const rows = values.methods.split(",").map((method) => {
  const rounds = Array.from({ length: Number(values.rounds) }, (_, i) => round(method, i));
  for (const { ours, theirs } of rounds)
    console.error(`${method}: rankfold ${ours.seconds.toFixed(1)} s (${stagesOf(ours).join(", ")}); PyTorch ${theirs.seconds} s`);
  const of = (who, what) => median(rounds.map((each) => each[who][what]));
  const each = rounds.map(({ ours, theirs }) => (ours.seconds / theirs.seconds).toFixed(2)).join(", ");
  return [
    ...[method, `${of("ours", "seconds").toFixed(1)} s`, `${of("theirs", "seconds").toFixed(1)} s`],
    ...[(of("ours", "seconds") / of("theirs", "seconds")).toFixed(2), each],
    ...[megabytes(of("ours", "peakRssBytes")), megabytes(of("theirs", "peakRssBytes"))],
    ...[(of("ours", "peakRssBytes") / of("theirs", "peakRssBytes")).toFixed(2), stagesOf(rounds.at(-1).ours).join(", ")],
  ];
});
rmSync(work, { recursive: true });
const header = ["method", "rankfold", "PyTorch", "ratio", "each round", "peak memory", "PyTorch's", "ratio", "seconds by stage"];
const peak = `This machine's f32 matrix products reach ${gemmPeakApart().toFixed(0)} GFLOP/s.`;
publish("compress", "A whole compression against PyTorch", typed("compress.mjs"), `${table(header, rows)}\n\n${peak}`);
