/** `rankfold demo`: compresses the embedded model by the default recipe and by one method alone, offline, and measures what each cost. */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { StorageError, UsageError } from "../errors.ts";
import { compressOptions, evaluateOptions, parseOptions } from "../pipeline/options.ts";
import type { CompressResult, EvaluateResult } from "../pipeline/results.ts";
import { renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPerplexity, formatSeconds } from "../report/units.ts";
import { type DemoTexts, writeDemoTexts } from "./demo-texts.ts";
import { addOptions, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

const MODEL = fileURLToPath(new URL("../../assets/pequod-5m", import.meta.url));
/** What is left open is chosen as `compress` does by default. */
const RECIPES: readonly Recipe[] = [{ name: "default" }, { name: "svd-llm", method: "svd-llm" }];
const KEEP = 0.8;
/** Tokens; what the model's published perplexities are measured with. */
const WINDOW = 256;
const MAX_WINDOWS = 64;
const FOLDER = "rankfold-demo";

interface Recipe {
  /** Also the folder's. */
  readonly name: string;
  readonly method?: string;
}

interface Flags extends OutputOptions {
  readonly out?: string;
  readonly threads?: number;
}

export interface DemoResult {
  readonly out: string;
  readonly keep: number;
  readonly calibration: string;
  /** The dense model first. */
  readonly models: readonly (EvaluateResult & { readonly recipe: string })[];
  readonly seconds: number;
}

export function addDemo(program: Command): void {
  const command = program.command("demo").description("compress the embedded model, offline, and compare; under two minutes");
  command.option("-o, --out <folder>", `the folder to write (default: ${FOLDER}, numbered when it exists)`);
  addOptions(command, THREADS).action(async (flags: Flags) => {
    print(await runDemo(flags), flags, renderDemo);
  });
}

async function runDemo(flags: Flags): Promise<DemoResult> {
  const start = performance.now();
  const out = demoFolder(flags.out);
  const texts = writeDemoTexts(join(out, "texts"));
  const models: DemoResult["models"][number][] = [{ recipe: "dense", ...(await evaluate(MODEL, texts, flags)) }];
  for (const recipe of RECIPES) {
    const folder = join(out, recipe.name);
    const made = await compress(recipe, folder, texts, flags);
    models.push({ recipe: `${made.method}, ${made.allocate}`, ...(await evaluate(folder, texts, flags)) });
  }
  return { out, keep: KEEP, calibration: texts.calibration, models, seconds: (performance.now() - start) / 1000 };
}

async function compress({ method }: Recipe, out: string, { calibration }: DemoTexts, flags: Flags): Promise<CompressResult> {
  const input = { model: MODEL, out, method, keep: KEEP, calibration, window: WINDOW, threads: flags.threads };
  return (await runWatched("compress", parseOptions(compressOptions, input), flags)) as CompressResult;
}

function evaluate(model: string, { evaluation }: DemoTexts, flags: Flags): Promise<EvaluateResult> {
  const input = { model, texts: [...evaluation], window: WINDOW, maxWindows: MAX_WINDOWS, threads: flags.threads };
  return runWatched("evaluate", parseOptions(evaluateOptions, input), flags);
}

/** The folder asked for, which must not exist or be empty; else the first free one of rankfold-demo, rankfold-demo-2, ... */
function demoFolder(asked: string | undefined): string {
  let folder = asked ?? FOLDER;
  for (let n = 2; asked === undefined && existsSync(folder); n++) folder = `${FOLDER}-${n}`;
  try {
    mkdirSync(folder, { recursive: true });
    if (readdirSync(folder).length === 0) return folder;
  } catch (cause) {
    throw new StorageError(`${folder}: the folder cannot be written: ${(cause as Error).message}`, { cause });
  }
  throw new UsageError(`${folder}: the output folder is not empty; give another with -o`);
}

export function renderDemo({ out, models, seconds }: DemoResult): string {
  const files = models[0]?.texts.map(({ file }) => right(`${file.replace(/^.*[\\/]|\.txt$/g, "")} perplexity`)) ?? [];
  const columns = [{ title: "model" }, right("parameters"), right("bytes"), ...files];
  const rows = models.map(({ recipe, parameters, bytes, texts }) => [
    recipe,
    formatCount(parameters),
    formatBytes(bytes),
    ...texts.map(({ perplexity }) => formatPerplexity(perplexity)),
  ]);
  const best = join(out, RECIPES[0]?.name as string);
  const next = `The compressed models are in ${out}; try:\n  npx rankfold generate ${best} --prompt "The whale"\n`;
  return `${renderTable(columns, rows)}\nKeeping ${KEEP} of the projections took ${formatSeconds(seconds)} in all. ${next}`;
}
