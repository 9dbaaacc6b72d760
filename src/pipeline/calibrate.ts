/** `calibrate`: runs texts through a model once and stores the sums that methods need, so that many runs can share them. */
import { basename } from "node:path";
import type { z } from "zod";
import { sumOutputGradients } from "../calibrate/output-gradients.ts";
import { besideText, randomShare } from "../calibrate/random-windows.ts";
import { type Calibration, readCalibration } from "../calibrate/sources.ts";
import { SiteSums } from "../calibrate/statistics.ts";
import { StatisticsWriter } from "../calibrate/statistics-folder.ts";
import { type CalibrationText, STATISTICS_FORMAT, type StatisticsManifest } from "../calibrate/statistics-manifest.ts";
import { UnsupportedError } from "../errors.ts";
import { answeredPrompt } from "../evaluate/tasks/questions.ts";
import { advanceBatches, type Batch, disposeBatches, embedWindows } from "../models/forward.ts";
import { loadModel, type Model } from "../models/load.ts";
import { holderFor } from "../models/streams.ts";
import { readBlock } from "../models/weights.ts";
import { scope } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { collectGarbage } from "./garbage.ts";
import type { Job } from "./job.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import { planMemory, refuseAbove } from "./memory.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import { shortNames } from "./short-names.ts";
import type { calibrateOptions } from "./sweep-options.ts";
import type { CalibrateResult } from "./sweep-results.ts";

type Options = z.output<typeof calibrateOptions>;

export async function calibrate(options: Options, job: Job): Promise<CalibrateResult> {
  const elapsed = stopwatch();
  const model = await loadModel(options.model, job);
  const calibration = await readCalibrationOf(model, options, job);
  const texts = [calibrationText(options.calibration, calibration)];
  const { out, window, memoryBytes, gradients, randomTokens } = options;
  const { windows } = calibration;
  const manifest = sumWindows(model, { out, windows, texts, window, memoryBytes, gradients, randomTokens }, job);
  return calibrateResult(options.out, manifest, elapsed());
}

/** The windows of the texts, as `compress` too would take them. */
export async function readCalibrationOf(
  { tokenizer }: Model,
  {
    calibration,
    chatTemplate,
    samples,
    ...options
  }: Pick<Options, "calibration" | "chatTemplate" | "samples"> & CalibrationWindow,
  job: Job,
): Promise<Calibration> {
  job.progress({ stage: "tokenize", done: 0, total: 1, unit: "text" });
  const window = options.calibrationWindow ?? options.window;
  const read = await readCalibration(calibration, { tokenizer, samples, window, chatTemplate, promptOf: answeredPrompt });
  collectGarbage();
  return read;
}

/** `sweep` has a window for evaluation too. */
interface CalibrationWindow {
  readonly window: number;
  readonly calibrationWindow?: number;
}

/** Where windows are from. */
export function calibrationText(sources: readonly string[], { sha256, windows }: Calibration): CalibrationText {
  return { text: shortNames(sources).join(", "), sha256, samples: windows.length };
}

export interface Sums {
  /** The folder to write. */
  readonly out: string;
  /** Token ids. */
  readonly windows: readonly Uint32Array[];
  /** Where the windows are from. */
  readonly texts: readonly CalibrationText[];
  /** Tokens a window; of a prompt, at most. */
  readonly window: number;
  readonly memoryBytes?: number | undefined;
  /** Also the gradients at the outputs of projections, on the text alone. */
  readonly gradients: boolean;
  /** Windows of random tokens to sum beside them, as a share of theirs; by default what suits the gradients. */
  readonly randomTokens?: number | undefined;
}

/** Runs the windows through the dense model and stores the sums of every site. */
export function sumWindows(model: Model, sums: Sums, job: Job): StatisticsManifest {
  const { out, windows, texts, window, memoryBytes, gradients, randomTokens: share = randomShare(gradients) } = sums;
  if (model.config.modelType !== model.configJson.model_type)
    throw new UnsupportedError(`${model.path}: is compressed already; calibrate the dense model instead`);
  const random = besideText(windows, { vocabulary: model.config.vocabulary, share, window });
  const summed = [...windows, ...random];
  const tokens = summed.reduce((sum, { length }) => sum + length, 0);
  const does = { streams: 1, models: 1, sums: true, decomposes: false, measures: false } as const;
  const work = { ...does, tokens, textBytes: 0, gradients };
  const { peakBytes, activations } = planMemory(model, work, memoryBytes);
  refuseAbove(memoryBytes, peakBytes, "calibration", "--samples or --window");
  const writer = new StatisticsWriter(out);
  try {
    sumBlocks(model, { windows: summed, activations, writer }, job);
    if (gradients) sumGradients(model, windows, writer, job);
    const sizes = { window, tokens, randomWindows: random.length };
    return writer.finish({ ...manifestOf(model, texts, sizes), probes: probesOf(windows) });
  } catch (error) {
    writer.remove();
    throw error;
  }
}

interface ForwardPass {
  readonly windows: readonly Uint32Array[];
  readonly activations: "memory" | "disk";
  readonly writer: StatisticsWriter;
}

/** The windows' activations are gone afterwards, from memory and from the disk. */
function sumBlocks(model: Model, { windows, activations, writer }: ForwardPass, job: Job): void {
  const holder = holderFor(activations, writer.activationsFile);
  let batches: Batch[] = [];
  try {
    batches = embedWindows(model, windows, holder);
    for (let block = 0; block < model.config.blocks; block++) {
      job.progress({ stage: "calibrate", done: block, total: model.config.blocks, unit: "block" });
      scope(() => sumBlock(model, block, batches, writer, job));
    }
  } finally {
    disposeBatches(batches);
    holder.close();
  }
}

/** Windows of which gradients are taken: enough to tell the directions that matter, and four times a forward pass each. */
const GRADIENT_TOKENS = 8192;

function sumGradients(model: Model, windows: readonly Uint32Array[], writer: StatisticsWriter, job: Job): void {
  const holder = holderFor("disk", writer.activationsFile);
  try {
    sumOutputGradients(model, {
      windows: spread(windows, GRADIENT_TOKENS),
      holder,
      visit: (block, triangles) => writer.saveGradients(block, triangles),
      between(done, total) {
        job.checkpoint();
        job.progress({ stage: "gradients", done, total, unit: "step" });
      },
    });
  } finally {
    holder.close();
  }
}

/** Windows of about so many tokens in all, evenly spread. */
function spread(windows: readonly Uint32Array[], tokens: number): Uint32Array[] {
  const all = windows.reduce((sum, { length }) => sum + length, 0);
  const count = Math.max(1, Math.min(windows.length, Math.round((windows.length * tokens) / all)));
  return centred(windows, count);
}

/** The middle one of each of `count` equal parts. */
function centred<T>(items: readonly T[], count: number): T[] {
  return Array.from({ length: count }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / count)] as T);
}

/** Windows on which allocators measure predictions, all or half of them, and the tokens of each that they take. */
const PROBES = 8;
const PROBE_TOKENS = 512;

/** A few windows spread evenly over all that were summed; more where they are short. */
function probesOf(windows: readonly Uint32Array[]): number[][] {
  const taken = windows.reduce((sum, { length }) => sum + Math.min(length, PROBE_TOKENS), 0);
  const count = Math.min(windows.length, Math.ceil((PROBES * PROBE_TOKENS * windows.length) / taken));
  return centred(windows, count).map((window) => [...window.subarray(0, PROBE_TOKENS)]);
}

function sumBlock(model: Model, block: number, batches: readonly Batch[], writer: StatisticsWriter, job: Job): void {
  const shapes = model.architecture.projections(model.config, block);
  const sums = new SiteSums(new Map(shapes.map(({ site, columns }) => [site, columns])));
  try {
    const weights = readBlock(model.checkpoint, model.architecture, model.config, block);
    advanceBatches(model, batches, weights, block, { observe: (site, input) => sums.add(site, input), between: job.checkpoint });
    writer.save(sums.stored());
  } finally {
    sums.dispose();
  }
}

type Described = Omit<StatisticsManifest, "files">;

function manifestOf(
  model: Model,
  texts: readonly CalibrationText[],
  sizes: Pick<Described, "window" | "tokens" | "randomWindows">,
): Described {
  const made = { name: basename(model.source), fingerprint: modelFingerprint(model) };
  return { format: STATISTICS_FORMAT, version: VERSION, model: made, texts, ...sizes };
}

export function calibrateResult(out: string, manifest: StatisticsManifest, seconds: number): CalibrateResult {
  const { model, texts, window, tokens, randomWindows = 0, files } = manifest;
  const summed = { texts, window, tokens, randomWindows };
  return { out, model: model.name, ...summed, blocks: files.length, seconds, peakRssBytes: peakRssBytes() };
}
