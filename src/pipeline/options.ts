/** The options of every command, checked once for the command line and the library alike. Units are in the names. */
import { z } from "zod";
import { UsageError } from "../errors.ts";
import { METHOD_DEFAULTS } from "../methods/method.ts";

const count = z.number().int().positive();
/** A fraction that is kept, in (0, 1]. */
const keep = z.number().gt(0).lte(1);

/** Where nothing says how much to keep. */
export const DEFAULT_KEEP = 0.8;
/** One text or several, `FILE` or `FILE:WEIGHT` each. */
const sources = z.union([z.string(), z.array(z.string()).min(1)]).transform((given) => [given].flat());
/** A refinement takes so long at most. */
const REFINE_MINUTES = 60;

export const compressOptions = z.strictObject({
  /** A Hugging Face folder, a GGUF file or a rankfold output; else the id of a model of the hub, `owner/name[@revision]`. */
  model: z.string().min(1),
  /** The folder to write; must not exist or be empty. */
  out: z.string().min(1),
  /** Where method and allocator are left open, recipe.ts chooses them. */
  method: z.string().optional(),
  /** Fraction of the parameters of the blocks' projections that is kept; DEFAULT_KEEP unless a target decides it. */
  keep: keep.optional(),
  /** The largest model of at most so many bytes of weights, in place of `keep`. */
  targetBytes: count.optional(),
  /** The smallest model of at most this perplexity, in place of `keep`; on the probe windows of the calibration, or a text. */
  targetPerplexity: z.number().gt(1).optional(),
  targetText: z.string().optional(),
  allocate: z.string().optional(),
  /** `last-blocks`: how many, and the fraction kept of each of their projections, which then decides `keep`. */
  blocks: count.optional(),
  blockKeep: keep.optional(),
  /** `bolaco`: allocations to try, parts of the depth that are allocated apart, and the seed of its draws. */
  trials: count.default(50),
  depthGroups: count.default(1),
  seed: z.number().int().nonnegative().default(0),
  /** Calibration texts, `FILE` or `FILE:WEIGHT` each; data-free methods and plans need none. */
  calibration: sources.optional(),
  /** Render rows with `messages`, or `instruction` and `output`, with the model's chat template. */
  chatTemplate: z.boolean().default(false),
  /** A folder of `calibrate`, instead of a calibration text; or with one, and made from it where there is none. */
  statistics: z.string().optional(),
  /** Calibration windows, and tokens a window. */
  samples: count.default(128),
  window: count.min(2).default(512),
  /** Windows of random tokens beside the text's, as a share of them; by default 1/8 where gradients are summed, else none. */
  randomTokens: z.number().min(0).max(1).optional(),
  /** Which activations later blocks see. `rom` defaults to compressed, all others to original. */
  propagate: z.enum(["original", "compressed"]).optional(),
  /** What single methods read; methods/method.ts says which and why. */
  nesting: z.number().min(0).max(1).optional(),
  alpha: z.number().min(0).max(2).default(METHOD_DEFAULTS.alpha),
  scale: z.enum(["abs-mean", "abs-max"]).default(METHOD_DEFAULTS.scale),
  gamma: z.number().min(0).max(1).default(METHOD_DEFAULTS.gamma),
  shrinkage: z.number().gt(0).lte(1).default(METHOD_DEFAULTS.shrinkage),
  mu: z.number().min(0).default(METHOD_DEFAULTS.mu),
  anchor: z.number().min(0).max(1).optional(),
  center: z.enum(["none", "mean", "paper", "pooled"]).default(METHOD_DEFAULTS.center),
  order: z.enum(["elimination", "scores"]).default(METHOD_DEFAULTS.order),
  dtype: z.enum(["f32", "bf16", "f16"]).optional(),
  rankMultiple: count.default(1),
  /** Projections of one input, both factored, share the right factor. */
  joint: z.boolean().default(false),
  /** Training of the new weights afterwards, what `refine` does: its `level`, `minutes`, `steps` and `calibration`. */
  refine: z.enum(["closed-form", "block", "model"]).optional(),
  refineMinutes: z.number().positive().default(REFINE_MINUTES),
  refineSteps: count.optional(),
  /** By default the calibration text. */
  refineCalibration: sources.optional(),
  /** Regular expressions on tensor names. */
  include: z.string().optional(),
  exclude: z.string().optional(),
  threads: count.optional(),
  /** Bytes; a plan that needs more is refused before it starts. */
  memoryBytes: count.optional(),
  workDir: z.string().optional(),
  resume: z.boolean().default(false),
  dryRun: z.boolean().default(false),
});

/** Of commands that evaluate. */
export const SOMETHING_TO_MEASURE = [
  ({ texts, tasks }: { readonly texts: readonly string[]; readonly tasks: readonly string[] }) => texts.length + tasks.length > 0,
  {
    path: ["texts"],
    message: "nothing to measure; give --text <file> for perplexity or --tasks <files> for zero-shot tasks",
  },
] as const satisfies readonly [unknown, { readonly path: string[]; readonly message: string }];

export const evaluateOptions = z
  .strictObject({
    model: z.string().min(1),
    /** Perplexity: `.txt` is one stream; `.jsonl` joins the `text` fields with a blank line. */
    texts: z.array(z.string()).default([]),
    window: count.min(2).default(2048),
    maxWindows: count.optional(),
    /** Zero-shot tasks, `.jsonl` named after the task or in a folder that is: the first `limit` rows of each. */
    tasks: z.array(z.string()).default([]),
    limit: count.optional(),
    /** Whether a task's prompts begin with the beginning-of-text token: as the tokenizer does, or not. */
    bos: z.enum(["auto", "always", "never"]).default("auto"),
    /** Write what was measured into the README.md of the model, a folder that rankfold wrote. */
    card: z.boolean().default(false),
    threads: count.optional(),
    memoryBytes: count.optional(),
  })
  .refine(...SOMETHING_TO_MEASURE);

export const generateOptions = z.strictObject({
  model: z.string().min(1),
  prompt: z.string(),
  tokens: count.default(64),
  /** 0 is greedy. */
  temperature: z.number().min(0).default(0),
  seed: z.number().int().nonnegative().default(0),
  /** Put the prompt through the model's chat template; on when the model has one. */
  chat: z.boolean().optional(),
  threads: count.optional(),
});

export const refineOptions = z.strictObject({
  /** A folder that `compress` wrote. */
  model: z.string().min(1),
  /** The dense model that it was made from. */
  against: z.string().min(1),
  out: z.string().min(1),
  /**
   * `model`: all weights of the blocks, end to end against the dense model's predictions. `block`: block by block, against the
   * dense block's output. `closed-form`: block by block, the last matrix of each new layer by least squares, without training.
   */
  level: z.enum(["closed-form", "block", "model"]).default("model"),
  calibration: sources,
  chatTemplate: z.boolean().default(false),
  /** Windows at most, and tokens a window; fewer where the text is shorter. */
  samples: count.min(2).default(1024),
  window: count.min(2).default(512),
  minutes: z.number().positive().default(REFINE_MINUTES),
  /** Ends after so many steps (`block`: of each block) if time does not; then the result does not depend on the machine's speed. */
  steps: count.optional(),
  learningRate: z.number().positive().default(2e-4),
  /** Of the order of the windows. */
  seed: z.number().int().nonnegative().default(0),
  threads: count.optional(),
  memoryBytes: count.optional(),
  workDir: z.string().optional(),
  resume: z.boolean().default(false),
});

export const inspectOptions = z.strictObject({ model: z.string().min(1) });

export const pushOptions = z.strictObject({
  /** A folder that `compress` wrote. */
  out: z.string().min(1),
  /** `owner/name`; made where there is none. */
  repo: z.string().min(1),
  /** Of a repository that is made. */
  private: z.boolean().default(false),
  /** The branch; made where there is none. */
  revision: z.string().default("main"),
});

export type CompressOptions = z.input<typeof compressOptions>;
export type EvaluateOptions = z.input<typeof evaluateOptions>;
export type GenerateOptions = z.input<typeof generateOptions>;
export type RefineOptions = z.input<typeof refineOptions>;
export type InspectOptions = z.input<typeof inspectOptions>;
export type PushOptions = z.input<typeof pushOptions>;

/** Fills in the defaults. @throws UsageError naming the first option that is wrong. */
export function parseOptions<S extends z.ZodType>(schema: S, options: z.input<S>): z.output<S> {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new UsageError(`option ${issue?.path.join(".") || "list"}: ${issue?.message}`);
}
