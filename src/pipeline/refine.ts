/** `refine`: trains the weights of a compressed model towards the dense one's predictions, and writes what came of it. */
import { copyFileSync, cpSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { z } from "zod";
import { evenly } from "../calibrate/corpus.ts";
import { readTextWindows } from "../calibrate/sources.ts";
import { InterruptedError, UsageError } from "../errors.ts";
import { answeredPrompt } from "../evaluate/tasks/questions.ts";
import { INDEX_FILE } from "../formats/safetensors.ts";
import { SafetensorsWriter } from "../formats/safetensors-writer.ts";
import { storage } from "../formats/storage.ts";
import { loadModel, type Model } from "../models/load.ts";
import { modelTensors } from "../models/weights.ts";
import { BlockCourse } from "../refine/block-course.ts";
import { type Course, EndToEndCourse, type Position } from "../refine/course.ts";
import { restoreTensors, savedTensors } from "../refine/saved.ts";
import { readStudent, storedStudent } from "../refine/student.ts";
import { Teacher } from "../refine/teacher.ts";
import { Training } from "../refine/training.ts";
import { renderModelCard } from "../report/model-card.ts";
import { type DType, scope } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { formatsOf } from "./inspect.ts";
import type { Job } from "./job.ts";
import { MANIFEST, type Manifest, readManifest } from "./manifest.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import { refuseAbove } from "./memory.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import type { refineOptions } from "./options.ts";
import { checkFree, writeFolder } from "./output-folder.ts";
import { refinementBytes } from "./refinement-memory.ts";
import { RefinementState } from "./refinement-state.ts";
import type { Refinement, RefineResult } from "./results.ts";
import type { Fingerprint } from "./work-directory.ts";

type Options = z.output<typeof refineOptions>;

/** Windows that are held back, and their share of a short text. */
const HELD_BACK = 8;
const HELD_BACK_SHARE = 1 / 8;
const SAVE_SECONDS = 180;

export async function refine(options: Options, job: Job): Promise<RefineResult> {
  const elapsed = stopwatch();
  checkFree(options.out);
  const [model, dense] = [await loadModel(options.model, job), await loadModel(options.against, job)];
  checkPair(model, dense, options);
  job.progress({ stage: "tokenize", done: 0, total: 1, unit: "text" });
  const { calibration, samples, window, chatTemplate } = options;
  const { tokenizer } = dense;
  const text = await readTextWindows(calibration, { tokenizer, samples, window, chatTemplate, promptOf: answeredPrompt });
  if (text.windows.length < 2) throw new UsageError("--calibration: expected text for two windows or more; give a longer text");
  refuseAbove(options.memoryBytes, refinementBytes(model, dense, text.windows), "the refinement", "--samples or --window");
  const state = new RefinementState(
    options.workDir ?? `${options.out}.refinement`,
    fingerprint(model, dense, text.sha256, options),
    options.resume,
  );
  const { course, refinement } = train(model, dense, { ...options, windows: text.windows }, state, job);
  const made = { ...refinement, seconds: elapsed() };
  await writeFolder(options.out, async (folder) => writeRefined(model, dense, { course, made, folder }));
  state.remove();
  return { out: options.out, ...made, parameters: model.parameters, bytes: model.bytes, peakRssBytes: peakRssBytes() };
}

/** @throws UsageError unless the one was made from the other, as far as their shapes tell. */
function checkPair(model: Model, dense: Model, options: Options): void {
  if (model.path !== model.source || readManifest(model.path) === undefined)
    throw new UsageError(`${options.model}: expected a folder that rankfold compress wrote; compress the model first`);
  if (dense.config.ranks.size > 0 || dense.config.widths.size > 0)
    throw new UsageError(`--against ${options.against}: is compressed itself; give the dense model`);
  for (const key of ["modelType", "blocks", "hiddenSize", "vocabulary"] as const) {
    if (model.config[key] === dense.config[key]) continue;
    throw new UsageError(
      `--against ${options.against}: expected the dense model of ${options.model} with ${key} ${model.config[key]}, got ${dense.config[key]}`,
    );
  }
}

/** All that decides the bytes of the result, but how long it may take. */
function fingerprint(model: Model, dense: Model, calibration: string, options: Options): Fingerprint {
  const { level, samples, window, learningRate, seed } = options;
  const [from, against] = [modelFingerprint(model), modelFingerprint(dense)];
  return { version: VERSION, model: from, against, calibration, level, samples, window, learningRate, seed };
}

interface Trained {
  readonly course: Course;
  readonly refinement: Omit<Refinement, "seconds">;
}

function train(
  model: Model,
  dense: Model,
  options: Options & { readonly windows: readonly Uint32Array[] },
  state: RefinementState,
  job: Job,
): Trained {
  const { windows, learningRate, minutes, steps, seed, level } = options;
  const heldBack = evenly([...windows.keys()], Math.max(1, Math.min(HELD_BACK, Math.floor(windows.length * HELD_BACK_SHARE))));
  const teacher = new Teacher(dense, windows);
  const training = new Training(readStudent(model), teacher);
  const dtype = formatsOf(model)[0] as DType;
  const plan = { windows, heldBack, learningRate, seconds: 60 * minutes, steps, seed, dtype };
  const course =
    level === "model" ? new EndToEndCourse(training, teacher, plan) : new BlockCourse(level, training, { dense, teacher }, plan);
  if (state.position) resume(state, training, course);
  const save = () => state.save(course.position, [...savedTensors(training, course)]);
  try {
    course.run(watcherOf(options, dense.config.blocks, save, job));
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    save();
    throw new InterruptedError(`interrupted: step ${course.position.step} is saved; the same command with --resume continues`);
  }
  const { step, bestStep, start, best } = course.position;
  const counts = { windows: windows.length - heldBack.length, heldBack: heldBack.length };
  return { course, refinement: { level, steps: step, bestStep, ...counts, divergence: { before: start, after: best } } };
}

function resume(state: RefinementState, training: Training, course: Course): void {
  const file = state.open();
  restoreTensors(training, course, file.entries.keys(), (name) => scope(() => file.read(name)));
  file.close();
  Object.assign(course.position, state.position);
}

function watcherOf({ minutes, steps, level }: Options, blocks: number, save: () => void, job: Job) {
  let saved = stopwatch();
  const blocksDone = (done: number) => job.progress({ stage: "refine", done, total: blocks, unit: "block" });
  if (level === "closed-form") blocksDone(0);
  const rounded = (divergence: number) => divergence.toFixed(4);
  return {
    checkpoint: job.checkpoint,
    onStep(position: Readonly<Position>, divergence: number) {
      const held = `held back ${rounded(position.last)} (${rounded(position.start)} at first)`;
      const detail = `loss ${rounded(divergence)}, ${held}`;
      const seconds = Math.round(60 * minutes);
      const byClock = { done: Math.min(Math.round(position.seconds), seconds), total: seconds, unit: "second" };
      const total = (steps ?? 0) * (level === "model" ? 1 : blocks);
      const count = steps === undefined ? byClock : { done: position.step, total, unit: "step" };
      job.progress({ stage: "refine", ...count, detail });
    },
    onWhole(position: Readonly<Position>) {
      if (level === "closed-form") blocksDone(position.blocks);
      if (saved() < SAVE_SECONDS) return;
      save();
      saved = stopwatch();
    },
    onMeasured({ step, last, best }: Readonly<Position>) {
      job.note(`step ${step}: held-back divergence ${rounded(last)}, best ${rounded(best)}`);
    },
  };
}

interface Written {
  readonly course: Course;
  readonly made: Refinement;
  readonly folder: string;
}

/** The files of the compressed model, with the best weights and what is known of them. */
function writeRefined(model: Model, dense: Model, { course, made, folder }: Written): void {
  for (const name of readdirSync(model.path)) {
    if (name.endsWith(".safetensors") || name === INDEX_FILE) continue;
    storage(join(folder, name), () => cpSync(join(model.path, name), join(folder, name), { recursive: true }));
  }
  if (made.bestStep === 0) copyWeights(model.path, folder);
  else writeWeights(model, course, folder);
  const manifest: Manifest = { ...(readManifest(model.path) as Manifest), refinement: made };
  storage(folder, () => {
    writeFileSync(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
    writeFileSync(join(folder, "README.md"), renderModelCard(manifest, { parametersBefore: dense.parameters }));
  });
}

/** Nothing was better: the weights stay what they were, bit by bit. */
function copyWeights(from: string, to: string): void {
  for (const name of readdirSync(from)) {
    if (!name.endsWith(".safetensors") && name !== INDEX_FILE) continue;
    storage(join(to, name), () => copyFileSync(join(from, name), join(to, basename(name))));
  }
}

function writeWeights(model: Model, course: Course, folder: string): void {
  const tensors = [...modelTensors(model.architecture, model.config)].map(([name, shape]) => {
    return { name, shape, dtype: model.checkpoint.tensors.get(name)?.format as "f32" | "bf16" | "f16" };
  });
  const writer = SafetensorsWriter.create(folder, { tensors });
  scope(() => {
    const trained = storedStudent({ model, ...course.best });
    for (const { name } of tensors) scope(() => writer.write(name, trained.get(name) ?? model.checkpoint.read(name)));
  });
  writer.finish();
}
