/** `compress`: the main job. Plans, then runs block by block: load, calibrate, factorize, write, forget. */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { besideText } from "../calibrate/random-windows.ts";
import type { Calibration } from "../calibrate/sources.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { InterruptedError, StorageError, UnsupportedError } from "../errors.ts";
import { advanceBatches, type Batch, disposeBatches, embedWindows } from "../models/forward.ts";
import { loadModel, type Model } from "../models/load.ts";
import type { BlockWeights } from "../models/model.ts";
import { COMPRESSED_PREFIX } from "../models/registry.ts";
import { type Holder, holderFor } from "../models/streams.ts";
import { outerTensors, readBlock, storedTensors } from "../models/weights.ts";
import { scope, type Tensor } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { allocationsOf } from "./allocation.ts";
import { checkPair, withScheduledKeep } from "./candidates.ts";
import { factorizeBlock, type Streams } from "./factorize-block.ts";
import type { Job } from "./job.ts";
import { checkJoint } from "./joint.ts";
import { peakRssBytes, StageClock, stopwatch } from "./measure.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import { DEFAULT_KEEP } from "./options.ts";
import { checkFree } from "./output-folder.ts";
import { checkMemory, type GivenOptions, type Options, type Plan, planCompression } from "./plan.ts";
import { recipeOf, withoutStatistics } from "./recipe.ts";
import type { CompressPlan, CompressResult, ProjectionReport } from "./results.ts";
import { checkMeasurable, statisticsFor, textWindows } from "./statistics-for.ts";
import { calibrationSha256, checkPropagation, comparesModels, withStatistics } from "./stored-statistics.ts";
import { checkTarget, keepFor } from "./target.ts";
import { type Fingerprint, WorkDirectory } from "./work-directory.ts";
import { writeCompanions } from "./write-model.ts";

/** The tensors outside the blocks, in the journal. */
const OUTER = -1;

/** One run, from its plan to its folder. */
interface Run {
  readonly model: Model;
  readonly options: Options;
  readonly plan: Plan;
  readonly job: Job;
  readonly work: WorkDirectory;
  /** Keeps activations between blocks. */
  readonly holder: Holder;
  /** Sums of an earlier calibration; else the windows are run. */
  readonly stored: StatisticsFolder | undefined;
  readonly clock: StageClock<"forward" | "statistics" | "factorize" | "write">;
  /** Seconds until there was a plan, what was measured for it among them. */
  readonly planning: number;
}

export async function compress(given: GivenOptions, job: Job): Promise<CompressResult | CompressPlan> {
  const elapsed = stopwatch();
  if (given.resume) WorkDirectory.tidy(given.out);
  checkFree(given.out);
  const model = await loadModel(given.model, job);
  const chosen = { ...given, ...recipeOf(given) };
  checkTarget(chosen);
  const asked = withScheduledKeep(model, { ...chosen, keep: given.keep ?? DEFAULT_KEEP });
  checkOptions(model, asked);
  const summed = await statisticsFor(model, asked, job);
  const described = summed ? withStatistics(asked, summed.folder) : withoutStatistics(asked);
  if (summed) checkPropagation(described);
  const allocationAt = allocationsOf(model, described, summed?.folder, job);
  const options = { ...described, keep: keepFor({ model, options: described, stored: summed?.folder, allocationAt, job }) };
  const plan = planCompression(model, options, allocationAt(options.keep));
  const planning = elapsed();
  if (options.dryRun) return plan.summary;
  checkMemory(plan, options);
  const { sha256, windows } = await calibrationOf(model, plan, options, job, summed?.folder);
  const work = WorkDirectory.open(
    options.workDir ?? `${options.out}.partial`,
    fingerprint(model, options, plan, sha256),
    layoutOf(plan),
    options.resume,
  );
  const run: Run = {
    model,
    options,
    plan,
    job,
    work,
    holder: holderFor(plan.summary.activations, work.activationsFile),
    stored: plan.measured ? summed?.folder : undefined,
    clock: new StageClock(),
    planning,
  };
  runBlocks(run, windows);
  const result = finish(run, sha256, elapsed);
  if (summed?.temporary) rmSync(summed.folder.path, { recursive: true });
  return result;
}

/** @throws UnsupportedError for a model that is compressed already, UsageError on options that contradict each other. */
function checkOptions(model: Model, options: Options): void {
  if (String(model.configJson.model_type).startsWith(COMPRESSED_PREFIX))
    throw new UnsupportedError(`${model.path}: is already compressed by rankfold; compress the dense model instead`);
  checkPair(options.method, options.allocate);
  checkMeasurable(options);
  checkJoint(options);
}

/** The windows to run, none where nothing is to be summed; and what stands for their text, null for data-free methods. */
interface CalibrationInput extends Omit<Calibration, "sha256"> {
  readonly sha256: string | null;
}

async function calibrationOf(
  model: Model,
  plan: Plan,
  options: Options,
  job: Job,
  stored?: StatisticsFolder,
): Promise<CalibrationInput> {
  if (!plan.measured) return { sha256: null, windows: [] };
  if (stored) return { sha256: calibrationSha256(stored), windows: [] };
  const { sha256, windows } = await textWindows(model, options, job);
  const { randomTokens: share = 0, window } = options;
  const random = besideText(windows, { vocabulary: model.config.vocabulary, share, window });
  return { sha256, windows: [...windows, ...random] };
}

function layoutOf({ tensors, dtype }: Plan) {
  return { tensors: [...tensors].map(([name, shape]) => ({ name, shape, dtype: dtype as "f32" | "bf16" | "f16" })) };
}

/** All that decides the bytes of the result. */
function fingerprint(model: Model, options: Options, plan: Plan, calibrationSha256: string | null): Fingerprint {
  const {
    out: _out,
    model: _model,
    calibration: _text,
    statistics: _statistics,
    workDir: _dir,
    threads: _threads,
    resume: _resume,
    dryRun: _dry,
    recipe: _recipe,
    memoryBytes: _memory,
    ...rest
  } = options;
  const ranks = createHash("sha256").update(JSON.stringify([...plan.ranks, ...plan.widths]));
  return {
    version: VERSION,
    model: modelFingerprint(model),
    calibration: calibrationSha256,
    ...Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, value ?? null])),
    propagate: plan.propagate,
    dtype: plan.dtype,
    ranks: ranks.digest("hex"),
  };
}

function runBlocks(run: Run, windows: readonly Uint32Array[]): void {
  const { model, job, work, holder } = run;
  let streams: Streams = { seen: [], dense: [] };
  try {
    if (!work.has(OUTER)) saveOuter(run);
    streams = embedStreams(run, windows);
    for (let block = 0; block < model.config.blocks; block++) {
      job.progress({ stage: "compress", done: block, total: model.config.blocks, unit: "block" });
      scope(() => (work.has(block) ? replayBlock(run, block, streams) : compressBlock(run, block, streams)));
    }
  } catch (error) {
    throw withResumeHint(run, error);
  } finally {
    disposeBatches([...streams.seen, ...streams.dense]);
    holder.close();
  }
}

function embedStreams({ model, plan, holder }: Run, windows: readonly Uint32Array[]): Streams {
  const embedded = () => (windows.length > 0 ? embedWindows(model, windows, holder) : []);
  return { seen: embedded(), dense: comparesModels(plan.method) ? embedded() : [] };
}

/** What was finished is kept where going on can help: after Ctrl-C, or once a disk has room again. */
function withResumeHint({ work, model }: Run, error: unknown): unknown {
  const finished = Array.from({ length: model.config.blocks }, (_, block) => work.has(block)).filter(Boolean).length;
  const resumable = error instanceof InterruptedError || error instanceof StorageError;
  if (finished === 0 || !resumable) work.remove();
  if (!resumable) return error;
  const saved =
    finished === 0
      ? "nothing was finished yet"
      : `${finished} of ${model.config.blocks} blocks are saved; the same command with --resume continues`;
  return error instanceof InterruptedError
    ? new InterruptedError(`interrupted: ${saved}`)
    : new StorageError(`${error.message}; ${saved}`);
}

function saveOuter({ model, plan, work, clock }: Run): void {
  clock.time("write", () => work.save(OUTER, readOneByOne(model, outerTensors(plan.config).keys())));
}

/** Each tensor lives until the next is asked for. */
function* readOneByOne({ checkpoint }: Model, names: Iterable<string>): Generator<[string, Tensor]> {
  for (const name of names) {
    const tensor = checkpoint.read(name);
    yield [name, tensor];
    tensor.dispose();
  }
}

function compressBlock({ model, options, plan, job, work, holder, stored, clock }: Run, index: number, streams: Streams): void {
  const weights = readBlock(model.checkpoint, model.architecture, model.config, index);
  const { method, ranks, widths, dtype } = plan;
  const { sharedRights } = plan.config;
  const task = {
    model,
    index,
    weights,
    method,
    options,
    ranks,
    sharedRights,
    widths: widths.get(index),
    dtype,
    clock,
    holder,
    checkpoint: job.checkpoint,
  };
  const statistics = stored?.block(index);
  const reports = factorizeBlock({ ...task, statistics }, streams, plan.propagate);
  statistics?.close();
  const skeletons = new Map(reports.flatMap(({ name, skeleton }) => (skeleton ? [[name, Uint32Array.from(skeleton)]] : [])));
  clock.time("write", () => work.save(index, storedTensors(weights, index, { skeletons, sharedRights }), reports));
}

/** A block that a run before this one finished: only the activations behind it are needed. */
function replayBlock({ model, plan, work, job, clock }: Run, index: number, { seen, dense }: Streams): void {
  const original = () => readBlock(model.checkpoint, model.architecture, model.config, index);
  const saved = () => readBlock(work, model.architecture, work.savedConfig(plan.config), index);
  const advance = (batches: readonly Batch[], weights: () => BlockWeights) => {
    if (batches.length === 0) return;
    clock.time("forward", () => advanceBatches(model, batches, weights(), index, { between: job.checkpoint }));
  };
  advance(seen, plan.propagate === "original" ? original : saved);
  advance(dense, original);
}

/** As the blocks have them: narrower parts beside factors. */
function inOrder(reports: readonly ProjectionReport[], { summary }: Plan): ProjectionReport[] {
  const byName = new Map(reports.map((report) => [report.name, report]));
  return summary.projections.flatMap(({ name }) => byName.get(name) ?? []);
}

function finish(run: Run, calibrationSha256: string | null, elapsed: () => number): CompressResult {
  const { options, plan, work, clock } = run;
  const { keptProjections, keptTotal, parametersAfter, bytesAfter, gains } = plan.summary;
  const result: CompressResult = {
    out: options.out,
    method: plan.method.name,
    allocate: options.allocate,
    recipe: options.recipe,
    keep: options.keep,
    keptProjections,
    keptTotal,
    parameters: parametersAfter,
    bytes: bytesAfter,
    seconds: elapsed(),
    stages: {
      planning: run.planning,
      forward: clock.seconds("forward"),
      statistics: clock.seconds("statistics"),
      factorize: clock.seconds("factorize"),
      write: clock.seconds("write"),
    },
    peakRssBytes: peakRssBytes(),
    gains,
    projections: inOrder(work.projections, plan),
  };
  writeCompanions(run.model, plan, { ...result, calibrationSha256, options }, work.path);
  work.finish(options.out);
  return result;
}
