/** The options that commands share, each with its unit and default; `--help` is made from this. Defaults are the library's. */
import { type Command, Option } from "commander";
import {
  compressOptions,
  DEFAULT_KEEP,
  evaluateOptions,
  generateOptions,
  parseOptions,
  refineOptions,
} from "../pipeline/options.ts";
import { collect, collectList, numberIn, parseBytes, wholeNumber } from "./values.ts";

const ANY = "-";
const compress = parseOptions(compressOptions, { model: ANY, out: ANY });
const evaluate = parseOptions(evaluateOptions, { model: ANY, texts: [ANY] });
const refine = parseOptions(refineOptions, { model: ANY, against: ANY, out: ANY, calibration: ANY });
const generate = parseOptions(generateOptions, { model: ANY, prompt: ANY });

export const MODEL =
  "a Hugging Face model folder, a .gguf file, a folder that rankfold wrote, or owner/name[@revision] of the hub";

/** How a command speaks, whichever it is. */
export interface OutputOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
}

const option = (flags: string, description: string) => new Option(flags, description);

export const COMPRESS = [
  option("-o, --out <folder>", "the folder to write; must not exist or be empty").makeOptionMandatory(),
  option("--method <name>", "how a weight becomes two thin ones (default: kfac; --method alone: uniform sizes)"),
  option("--keep <fraction>", "share of the parameters of the blocks' projections to keep, in (0, 1]")
    .argParser(numberIn(0, 1, { open: true }))
    .default(undefined, String(DEFAULT_KEEP)),
  option(
    "--target-bytes <size>",
    "in place of --keep: the largest model whose weights take at most this, such as 200M",
  ).argParser(parseBytes),
  option(
    "--target-perplexity <p>",
    "in place of --keep: the smallest model of at most this perplexity, on a few windows of the calibration or --target-text",
  ).argParser(numberIn(1, Number.POSITIVE_INFINITY, { open: true })),
  option("--target-text <file>", "what --target-perplexity is measured on: its first 10 windows of 1024 tokens"),
  option("--allocate <name>", "how the kept parameters are spread over the model (default: auto, which measures it)"),
  option("--blocks <n>", "last-blocks: how many blocks to compress (default: as many as its paper does at --keep)").argParser(
    wholeNumber(1),
  ),
  option(
    "--block-keep <fraction>",
    "last-blocks: share to keep of each projection in them, with --blocks in place of --keep",
  ).argParser(numberIn(0, 1, { open: true })),
  option("--trials <n>", "bolaco: allocations to try").argParser(wholeNumber(1)).default(compress.trials),
  option("--depth-groups <n>", "bolaco: parts of the depth that are allocated apart; the paper's are 1 and 4")
    .argParser(wholeNumber(1))
    .default(compress.depthGroups),
  option("--seed <n>", "bolaco: of its draws").argParser(wholeNumber(0)).default(compress.seed),
  option(
    "--calibration <files...>",
    "text whose activations are measured: .txt, .jsonl or .parquet with `text` fields or a task's rows, a window each; several, after MODEL, share the windows: FILE:WEIGHT",
  ),
  option("--chat-template", "render rows of `messages`, or of `instruction` and `output`, with the model's chat template"),
  option(
    "--statistics <folder>",
    "what `rankfold calibrate` wrote, instead of a calibration text; with one, made there and kept for other sizes",
  ),
  option("--samples <windows>", "calibration windows").argParser(wholeNumber(1)).default(compress.samples),
  option("--window <tokens>", "length of a calibration window").argParser(wholeNumber(2)).default(compress.window),
  option(
    "--random-tokens <share>",
    "windows of random tokens beside the text's, which spare other texts, as a share of them (default: 0.125 for kfac, else 0)",
  ).argParser(numberIn(0, 1)),
  option("--propagate <which>", "the activations that later blocks see (default: the method's own)").choices([
    "original",
    "compressed",
  ]),
  option("--nesting <fraction>", "share of the rank for the method's own fit; the rest is the SVD of what that leaves")
    .argParser(numberIn(0, 1))
    .default(undefined, "0.95 of nsvd and nid, 1 of all others"),
  option("--alpha <exponent>", "asvd: exponent of the activation scale, 0 is svd")
    .argParser(numberIn(0, 2))
    .default(compress.alpha),
  option("--scale <measure>", "asvd: mean or largest absolute value of an input")
    .choices(["abs-mean", "abs-max"])
    .default(compress.scale),
  option("--gamma <fraction>", "asvd-iii: exponent of the Gram matrix's eigenvalues; 0.5 is asvd-ii, 0 is svd")
    .argParser(numberIn(0, 1))
    .default(compress.gamma),
  option("--shrinkage <fraction>", "kfac: share of the identity in the metric of the outputs; 1 is svd-llm")
    .argParser(numberIn(0, 1, { open: true }))
    .default(compress.shrinkage),
  option("--mu <factor>", "ridge: added to the Gram matrix's diagonal, relative to its mean")
    .argParser(numberIn(0, Number.POSITIVE_INFINITY))
    .default(compress.mu),
  option("--anchor <fraction>", "saes-svd: share of the dense model's outputs in the targets; 1 is aa-svd, 0 is svd-llm")
    .argParser(numberIn(0, 1))
    .default(undefined, "1/3"),
  option("--center <how>", "rom: centre the outputs: not, with the bias it calls for, as published, or in each batch")
    .choices(["none", "mean", "paper", "pooled"])
    .default(compress.center),
  option("--order <how>", "narrower parts: units dropped one after the other, or by their own scores as published")
    .choices(["elimination", "scores"])
    .default(compress.order),
  option("--dtype <type>", "numbers of the written model (default: the model's own)").choices(["f32", "bf16", "f16"]),
  option("--rank-multiple <n>", "round ranks down to a multiple of this")
    .argParser(wholeNumber(1))
    .default(compress.rankMultiple),
  option("--joint", "q and k, gate and up share their right factor, where both are factored: a larger rank at the same size"),
  option("--refine <level>", "train the new weights afterwards; model: end to end against the dense model's predictions").choices(
    ["model"],
  ),
  option("--refine-minutes <minutes>", "time for it at most")
    .argParser(numberIn(0, Number.POSITIVE_INFINITY, { open: true }))
    .default(compress.refineMinutes),
  option("--refine-steps <n>", "end after so many steps if time does not").argParser(wholeNumber(1)),
  option("--refine-calibration <files...>", "text to train on (default: that of --calibration), all its windows"),
  option("--include <regex>", "compress only the projections whose name matches"),
  option("--exclude <regex>", "leave the projections whose name matches"),
  option("--work-dir <folder>", "where finished blocks wait until the model is whole (default: beside the output)"),
  option("--resume", "continue a run that was interrupted"),
  option("--dry-run", "print the plan and stop"),
];

export const REFINE = [
  option("-o, --out <folder>", "the folder to write; must not exist or be empty").makeOptionMandatory(),
  option("--against <model>", "the dense model that it was made from").makeOptionMandatory(),
  option(
    "--calibration <files...>",
    "text to train on; several, after MODEL, share the windows: FILE:WEIGHT",
  ).makeOptionMandatory(),
  option("--level <level>", "closed-form: least squares; block: trained block by block; model: end to end")
    .choices(["closed-form", "block", "model"])
    .default(refine.level),
  option("--minutes <minutes>", "time for it at most")
    .argParser(numberIn(0, Number.POSITIVE_INFINITY, { open: true }))
    .default(refine.minutes),
  option("--steps <n>", "end after so many steps (block: of each block) if time does not").argParser(wholeNumber(1)),
  option("--learning-rate <rate>", "the highest, of AdamW")
    .argParser(numberIn(0, 1, { open: true }))
    .default(refine.learningRate),
  option("--chat-template", "render rows of conversations with the model's chat template"),
  option("--samples <windows>", "windows of the text to use at most").argParser(wholeNumber(2)).default(refine.samples),
  option("--window <tokens>", "length of a window").argParser(wholeNumber(2)).default(refine.window),
  option("--seed <n>", "of the order of the windows").argParser(wholeNumber(0)).default(refine.seed),
  option("--work-dir <folder>", "where weights and optimiser are saved every few minutes (default: beside the output)"),
  option("--resume", "continue a run that was interrupted"),
];

export const EVALUATE = [
  option("--text <file>", "text to measure perplexity on: .txt, or .jsonl with `text` fields; repeatable").argParser(collect),
  option("--window <tokens>", "length of an evaluation window").argParser(wholeNumber(2)).default(evaluate.window),
  option("--max-windows <n>", "stop after so many windows of each text (default: all)").argParser(wholeNumber(1)),
  option(
    "--tasks <files>",
    "zero-shot tasks, .jsonl files named after the task or in its folder, separated by commas; repeatable",
  ).argParser(collectList),
  option("--limit <rows>", "ask only the first rows of each task (default: all)").argParser(wholeNumber(1)),
  option("--bos <when>", "tasks: begin prompts with the beginning-of-text token; auto: as the tokenizer does")
    .choices(["auto", "always", "never"])
    .default(evaluate.bos),
  option("--card", "write the measured figures into the model's README.md (a folder that rankfold wrote)"),
];

export const GENERATE = [
  option("--prompt <text>", "what the text begins with").makeOptionMandatory(),
  option("--tokens <n>", "tokens to generate at most").argParser(wholeNumber(1)).default(generate.tokens),
  option("--temperature <t>", "0 takes the likeliest token, 1 samples as the model says")
    .argParser(numberIn(0, Number.POSITIVE_INFINITY))
    .default(generate.temperature),
  option("--seed <n>", "of the sampling").argParser(wholeNumber(0)).default(generate.seed),
  option("--chat", "put the prompt through the model's chat template (default: when it has one)"),
  option("--no-chat", "continue the prompt as it is"),
];

export const THREADS = option("--threads <n>", "threads of the engine (default: all)").argParser(wholeNumber(1));
export const MEMORY = option("--memory <size>", "refuse to start what needs more, such as 8G").argParser(parseBytes);

export const VERBOSE = option("--verbose", "print what became of every projection, not of every block alone");

const OUTPUT = [
  option("--json", "print one JSON object on stdout and nothing else"),
  option("--quiet", "no progress and no notes on stderr"),
];

export function addOptions(command: Command, ...options: readonly Option[]): Command {
  for (const each of [...options, ...OUTPUT]) command.addOption(each);
  return command;
}
