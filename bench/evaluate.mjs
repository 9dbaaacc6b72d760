/**
 * Perplexity of a model on a text against PyTorch: alternating, in one run. Tokens a second of the forward passes and their
 * likelihoods; reading the model and tokenising are left out on both sides.
 *
 *   node bench/evaluate.mjs MODEL TEXT --python PYTHON [--rounds 3] [--window 1024] [--windows 20]
 */
import { parseArgs } from "node:util";
import { median, megabytes, need, peer, publish, rankfold, table, typed } from "./common.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    rounds: { type: "string", default: "3" },
    window: { type: "string", default: "1024" },
    windows: { type: "string", default: "20" },
  },
});
const usage = "node bench/evaluate.mjs MODEL TEXT --python PYTHON";
const [model, text] = [need(positionals[0], usage), need(positionals[1], usage)];
const limits = ["--window", values.window, "--max-windows", values.windows];
const tokens = Number(values.window) * Number(values.windows);

const rounds = Array.from({ length: Number(values.rounds) }, () => {
  const ours = rankfold("evaluate", model, "--text", text, ...limits, "--quiet");
  const theirs = peer(values.python, "perplexity", model, text, ...limits);
  const each = { ours: tokens / ours.texts[0].seconds, theirs: tokens / theirs.stages.forward };
  console.error(`rankfold ${each.ours.toFixed(0)} tokens/s, PyTorch ${each.theirs.toFixed(0)}`);
  const perplexities = [ours.texts[0].perplexity, theirs.perplexity];
  return { ...each, perplexities, peaks: [ours.peakRssBytes, theirs.peakRssBytes] };
});
const of = (who) => median(rounds.map((round) => round[who]));
const ratio = median(rounds.map(({ ours, theirs }) => ours / theirs));
const [{ perplexities, peaks }] = rounds;
const rows = [
  ["rankfold", of("ours").toFixed(0), ratio.toFixed(2), perplexities[0].toFixed(4), megabytes(peaks[0])],
  ["PyTorch", of("theirs").toFixed(0), "1", perplexities[1].toFixed(4), megabytes(peaks[1])],
];
const header = ["", "tokens/s", "ratio", "perplexity", "peak memory"];
const each = rounds.map(({ ours, theirs }) => (ours / theirs).toFixed(2)).join(", ");
publish(
  "evaluate",
  "Perplexity against PyTorch",
  typed("evaluate.mjs"),
  `${table(header, rows)}\n\nRatio in each round: ${each}.`,
);
