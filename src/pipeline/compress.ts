/** `compress`: the main job. Plans, then runs block by block: load, calibrate, factorize, write, forget. */
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { allocatorNamed } from "../allocate/registry.ts";
import type { Calibration } from "../calibrate/sources.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { InterruptedError, StorageError, UnsupportedError, UsageError } from "../errors.ts";
import { methodNamed } from "../methods/registry.ts";
import { advanceBatches, type Batch, disposeBatches, embedWindows } from "../models/forward.ts";
import { loadModel, type Model } from "../models/load.ts";
import { COMPRESSED_PREFIX } from "../models/registry.ts";
import { type Holder, holderFor } from "../models/streams.ts";
import { outerTensors, readBlock, storedTensors } from "../models/weights.ts";
import { scope, type Tensor } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { allocationsOf } from "./allocation.ts";
import { calibrationText, readCalibrationOf, sumWindows } from "./calibrate.ts";
import { checkPair, withScheduledKeep } from "./candidates.ts";
import { factorizeBlock } from "./factorize-block.ts";
import type { Job } from "./job.ts";
import { peakRssBytes, StageClock, stopwatch } from "./measure.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import { DEFAULT_KEEP } from "./options.ts";
import { checkFree } from "./output-folder.ts";
import { checkMemory, type GivenOptions, type Options, type Plan, planCompression } from "./plan.ts";
import type { CompressPlan, CompressResult } from "./results.ts";
import { calibrationSha256, checkPropagation, openStatistics, readsGradients, withStatistics } from "./stored-statistics.ts";
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
}

export async function compress(given: GivenOptions, job: Job): Promise<CompressResult | CompressPlan> {
  const elapsed = stopwatch();
  if (given.resume) WorkDirectory.tidy(given.out);
  checkFree(given.out);
  const model = await loadModel(given.model, job);
  checkTarget(given);
  const asked = withScheduledKeep(model, { ...given, keep: given.keep ?? DEFAULT_KEEP });
  checkOptions(model, asked);
  const summed = await statisticsOf(model, asked, job);
  const described = summed
    ? withStatistics(summed.temporary ? { ...asked, calibration: undefined } : asked, summed.folder)
    : asked;
  if (summed) checkPropagation(described);
  const options = { ...described, keep: keepFor(model, described, summed?.folder, job) };
  const plan = planCompression(model, options, allocationsOf(model, options, summed?.folder, job)(options.keep));
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
  };
  runBlocks(run, windows);
  const result = finish(run, sha256, elapsed);
  if (summed?.temporary) rmSync(summed.folder.path, { recursive: true });
  return result;
}

/** @throws UnsupportedError for a model that is compressed already, UsageError on options that contradict each other. */
function checkOptions(model: Model, options: Options): void {
  const { method, calibration, statistics } = options;
  if (String(model.configJson.model_type).startsWith(COMPRESSED_PREFIX))
    throw new UnsupportedError(`${model.path}: is already compressed by rankfold; compress the dense model instead`);
  checkPair(method, options.allocate);
  const { needs } = methodNamed(method);
  const who = needs.length > 0 ? `--method ${method}` : readerOfStatistics(options);
  if (who === undefined || calibration !== undefined || statistics !== undefined) return;
  throw new UsageError(`${who} measures activations: give a text with --calibration FILE, or --statistics DIR`);
}

/** What reads statistics before the blocks are compressed, as its option; undefined where nothing does. */
function readerOfStatistics({ method, allocate, targetPerplexity, targetText }: Options): string | undefined {
  if (readsGradients(method)) return `--method ${method}`;
  if (allocatorNamed(allocate).needs !== "shapes") return `--allocate ${allocate}`;
  const reads = targetPerplexity !== undefined && (methodNamed(method).needs.length > 0 || targetText === undefined);
  return reads ? "--target-perplexity" : undefined;
}

interface Summed {
  readonly folder: StatisticsFolder;
  /** Made for this run alone, and deleted after it. */
  readonly temporary: boolean;
}

/** The statistics to use, where there are some: those given, or those that a measuring allocator has to make first. */
async function statisticsOf(model: Model, options: Options, job: Job): Promise<Summed | undefined> {
  if (options.statistics !== undefined)
    return { folder: openStatistics(options.statistics, model, options.method), temporary: false };
  const reader = readerOfStatistics(options);
  if (reader === undefined) return undefined;
  const out = `${options.out}.statistics`;
  if (options.dryRun) throw new UsageError(`${reader} --dry-run: measure first with rankfold calibrate, then give --statistics`);
  if (!(options.resume && existsSync(out))) {
    rmSync(out, { recursive: true, force: true });
    const { window, memoryBytes } = options;
    const calibration = await textWindows(model, options, job);
    const texts = [calibrationText(options.calibration as string[], calibration)];
    const gradients = readsGradients(options.method);
    sumWindows(model, { out, windows: calibration.windows, texts, window, memoryBytes, gradients }, job);
  }
  return { folder: openStatistics(out, model, options.method), temporary: true };
}

function textWindows(model: Model, options: Options, job: Job): Promise<Calibration> {
  return readCalibrationOf(model, { ...options, calibration: options.calibration as string[] }, job);
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
  return textWindows(model, options, job);
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
  let batches: Batch[] = [];
  try {
    if (!work.has(OUTER)) saveOuter(run);
    if (windows.length > 0) batches = embedWindows(model, windows, holder);
    for (let block = 0; block < model.config.blocks; block++) {
      job.progress({ stage: "compress", done: block, total: model.config.blocks, unit: "block" });
      scope(() => (work.has(block) ? replayBlock(run, block, batches) : compressBlock(run, block, batches)));
    }
  } catch (error) {
    throw withResumeHint(run, error);
  } finally {
    disposeBatches(batches);
    holder.close();
  }
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

function compressBlock(
  { model, options, plan, job, work, holder, stored, clock }: Run,
  index: number,
  batches: readonly Batch[],
): void {
  const weights = readBlock(model.checkpoint, model.architecture, model.config, index);
  const { method, ranks, widths, dtype } = plan;
  const task = {
    model,
    index,
    weights,
    method,
    options,
    ranks,
    widths: widths.get(index),
    dtype,
    clock,
    holder,
    checkpoint: job.checkpoint,
  };
  const statistics = stored?.block(index);
  const reports = factorizeBlock({ ...task, statistics }, batches, plan.propagate);
  statistics?.close();
  const skeletons = new Map(reports.flatMap(({ name, skeleton }) => (skeleton ? [[name, Uint32Array.from(skeleton)]] : [])));
  clock.time("write", () => work.save(index, storedTensors(weights, index, skeletons), reports));
}

/** A block that a run before this one finished: only the activations behind it are needed. */
function replayBlock({ model, plan, work, job, clock }: Run, index: number, batches: readonly Batch[]): void {
  if (batches.length === 0) return;
  const weights =
    plan.propagate === "original"
      ? readBlock(model.checkpoint, model.architecture, model.config, index)
      : readBlock(work, model.architecture, work.savedConfig(plan.config), index);
  clock.time("forward", () => advanceBatches(model, batches, weights, index, { between: job.checkpoint }));
}

function finish(run: Run, calibrationSha256: string | null, elapsed: () => number): CompressResult {
  const { options, plan, work, clock } = run;
  const { keptProjections, keptTotal, parametersAfter, bytesAfter } = plan.summary;
  // Sums are made inside the forward pass.
  const forward = clock.seconds("forward") - clock.seconds("statistics");
  const result: CompressResult = {
    out: options.out,
    method: plan.method.name,
    keep: options.keep,
    keptProjections,
    keptTotal,
    parameters: parametersAfter,
    bytes: bytesAfter,
    seconds: elapsed(),
    stages: {
      forward,
      statistics: clock.seconds("statistics"),
      factorize: clock.seconds("factorize"),
      write: clock.seconds("write"),
    },
    peakRssBytes: peakRssBytes(),
    projections: work.projections,
  };
  writeCompanions(run.model, plan, { ...result, calibrationSha256, options }, work.path);
  work.finish(options.out);
  return result;
}
