/** The options of `calibrate`, `merge-statistics` and `sweep`, checked once for the command line and the library alike. */
import { z } from "zod";
import { compressOptions, evaluateOptions, SOMETHING_TO_MEASURE } from "./options.ts";

const { keep, samples, window, threads, memoryBytes, ...compressShape } = compressOptions.shape;
const { tasks, limit, bos } = evaluateOptions.shape;
const count = z.number().int().positive();

export const calibrateOptions = z.strictObject({
  /** A Hugging Face folder or a GGUF file, not compressed. */
  model: z.string().min(1),
  /** The folder to write; must not exist or be empty. */
  out: z.string().min(1),
  /** Texts, `FILE` or `FILE:WEIGHT` each: `samples` windows in all. */
  calibration: z.array(z.string()).min(1),
  chatTemplate: compressShape.chatTemplate,
  samples,
  window,
  /** Also the gradients at the projections' outputs, which `kfac` reads. */
  gradients: z.boolean().default(false),
  randomTokens: compressShape.randomTokens,
  threads,
  memoryBytes,
});

export const mergeOptions = z.strictObject({
  /** Folders that `calibrate` or a merge wrote, of one model. */
  folders: z.array(z.string()).min(2),
  out: z.string().min(1),
});

export const sweepOptions = z
  .strictObject({
    model: z.string().min(1),
    /** The folder of the results; must not exist or be empty, but with `resume`. */
    out: z.string().min(1),
    methods: z.array(z.string()).min(1).default(["svd", "asvd", "svd-llm", "nsvd-i"]),
    keeps: z.array(z.number().gt(0).lte(1)).min(1).default([0.9, 0.8, 0.6]),
    /** What perplexity is measured on. */
    texts: z.array(z.string()).default([]),
    /** Tokens of an evaluation window, and how many of each text are measured (all, when absent). */
    window: count.min(2).default(2048),
    maxWindows: count.optional(),
    /** Zero-shot tasks, as evaluate has them. */
    tasks,
    limit,
    bos,
    /** Statistics from `calibrate`, or texts to make them from: `samples` windows of `calibrationWindow` tokens in all. */
    statistics: z.string().optional(),
    calibration: z.array(z.string()).default([]),
    chatTemplate: compressShape.chatTemplate,
    samples,
    calibrationWindow: window,
    allocate: z.string().default("uniform"),
    trials: compressShape.trials,
    depthGroups: compressShape.depthGroups,
    seed: compressShape.seed,
    nesting: compressShape.nesting,
    alpha: compressShape.alpha,
    scale: compressShape.scale,
    gamma: compressShape.gamma,
    shrinkage: compressShape.shrinkage,
    mu: compressShape.mu,
    center: compressShape.center,
    order: compressShape.order,
    dtype: compressShape.dtype,
    rankMultiple: compressShape.rankMultiple,
    include: compressShape.include,
    exclude: compressShape.exclude,
    /** Cells to write as models too, each `method@keep`. */
    write: z.array(z.string()).default([]),
    threads,
    /** Bytes; more cells than fit are measured one after the other. */
    memoryBytes,
    resume: z.boolean().default(false),
  })
  .refine(...SOMETHING_TO_MEASURE);

export type CalibrateOptions = z.input<typeof calibrateOptions>;
export type MergeOptions = z.input<typeof mergeOptions>;
export type SweepOptions = z.input<typeof sweepOptions>;
/** Checked, with the defaults filled in. */
export type SweepSettings = z.output<typeof sweepOptions>;
