/** The options of `calibrate`, `merge-statistics` and `sweep`; those of methods are compress's. */
import { Option } from "commander";
import { parseOptions } from "../pipeline/options.ts";
import { calibrateOptions, sweepOptions } from "../pipeline/sweep-options.ts";
import { COMPRESS, EVALUATE } from "./options.ts";
import { list, numberList, wholeNumber } from "./values.ts";

const ANY = "-";
const calibrate = parseOptions(calibrateOptions, { model: ANY, out: ANY, calibration: [ANY] });
const sweep = parseOptions(sweepOptions, { model: ANY, out: ANY, texts: [ANY] });

const option = (flags: string, description: string) => new Option(flags, description);
const out = (what: string) => option("-o, --out <folder>", what).makeOptionMandatory();
const samples = () => option("--samples <windows>", "calibration windows in all").argParser(wholeNumber(1));

export const CALIBRATE = [
  out("the folder to write; must not exist or be empty"),
  option(
    "--calibration <files...>",
    "texts whose activations are summed: .txt, .jsonl or .parquet with `text` fields, or a task's rows, a window each",
  ).makeOptionMandatory(),
  ...COMPRESS.filter((shared) => shared.attributeName() === "chatTemplate"),
  samples().default(calibrate.samples),
  option("--window <tokens>", "length of a calibration window").argParser(wholeNumber(2)).default(calibrate.window),
  option("--gradients", "also the loss's gradients at the outputs of projections, which kfac reads"),
  ...COMPRESS.filter((shared) => shared.attributeName() === "randomTokens"),
];

export const MERGE = [out("the folder to write; must not exist or be empty")];

/** What methods and allocation read, as compress has them. */
const SHARED = [
  "allocate",
  "trials",
  "depthGroups",
  "seed",
  "chatTemplate",
  "nesting",
  "alpha",
  "scale",
  "gamma",
  "shrinkage",
  "mu",
  "center",
  "order",
  "dtype",
  "rankMultiple",
  "include",
  "exclude",
];

export const SWEEP = [
  out("the folder of the results; must not exist or be empty"),
  option("--methods <names>", "methods, separated by commas").argParser(list).default(sweep.methods, sweep.methods.join()),
  option("--keeps <fractions>", "fractions to keep, separated by commas")
    .argParser(numberList(0, 1))
    .default(sweep.keeps, sweep.keeps.join()),
  option("--text <files...>", "texts to measure perplexity on: .txt, or .jsonl with `text` fields"),
  option("--window <tokens>", "length of an evaluation window").argParser(wholeNumber(2)).default(sweep.window),
  option("--max-windows <n>", "stop after so many windows of each text (default: all)").argParser(wholeNumber(1)),
  ...EVALUATE.filter((shared) => ["tasks", "limit", "bos"].includes(shared.attributeName())),
  option("--statistics <folder>", "what `rankfold calibrate` wrote"),
  option("--calibration <files...>", "or texts or tasks to calibrate on; the statistics stay in the output folder").default(
    [],
    "none",
  ),
  samples().default(sweep.samples),
  option("--calibration-window <tokens>", "length of a calibration window")
    .argParser(wholeNumber(2))
    .default(sweep.calibrationWindow),
  ...COMPRESS.filter((shared) => SHARED.includes(shared.attributeName())),
  option("--write <cells>", "cells to write as models too, such as svd-llm@0.8, separated by commas")
    .argParser(list)
    .default([], "none"),
  option("--resume", "continue a sweep that was interrupted; further methods and keeps may be added"),
];
