/** What the commands give back; with `--json` these objects are printed as they are. */
import type { Gain } from "../allocate/gain.ts";
import type { OnnxDType } from "./export-options.ts";

export interface ProjectionReport {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Inner dimension of the factors; null where the projection stayed dense. */
  readonly rank: number | null;
  /** MLP channels or values of a head kept; only where that part of the block got narrower. */
  readonly width?: number;
  /** Share of ||W X||^2 that the factors keep on the calibration inputs; null where nothing was measured. */
  readonly retainedEnergy: number | null;
  /** ||W - W'||_F / ||W||_F; null where its part of the block got narrower. */
  readonly relativeError: number | null;
  /** Added to the Gram matrix's diagonal, relative to its mean. */
  readonly damping: number;
  /** Columns that hold the identity of an interpolative decomposition; only where there is one. */
  readonly skeleton?: readonly number[];
  /** Rotary pairs that each key/value head keeps; only where query and key heads got narrower. */
  readonly ropePairs?: readonly (readonly number[])[];
}

/** Seconds by stage. */
export interface Stages {
  /** Until every size was chosen: stored statistics are made and modules measured here. */
  readonly planning: number;
  readonly forward: number;
  readonly statistics: number;
  readonly factorize: number;
  readonly write: number;
}

export interface CompressResult {
  readonly out: string;
  readonly method: string;
  readonly allocate: string;
  /** Why these two. */
  readonly recipe: string;
  readonly keep: number;
  /** Fraction kept of the blocks' projections, and of the whole model. */
  readonly keptProjections: number;
  readonly keptTotal: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly stages: Stages;
  readonly peakRssBytes: number;
  /** By kind of module. */
  readonly gains: readonly Gain[];
  readonly projections: readonly ProjectionReport[];
  /** Only where the weights were trained afterwards. */
  readonly refinement?: Refinement;
}

/** What training after the compression did. */
export interface Refinement {
  readonly level: "closed-form" | "block" | "model";
  readonly steps: number;
  /** Step whose weights were written; 0 where none was better than the start. */
  readonly bestStep: number;
  /** Windows trained on, and held back to measure with. */
  readonly windows: number;
  readonly heldBack: number;
  /** Mean KL(dense || compressed) of a held-back token, in nats. */
  readonly divergence: { readonly before: number; readonly after: number };
  readonly seconds: number;
}

export interface RefineResult extends Refinement {
  readonly out: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly peakRssBytes: number;
}

/** What `compress --dry-run` prints: all that is known before anything is computed. */
export interface CompressPlan {
  readonly model: string;
  readonly method: string;
  readonly allocate: string;
  /** Why these two. */
  readonly recipe: string;
  readonly keep: number;
  readonly keptProjections: number;
  readonly keptTotal: number;
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  readonly bytesAfter: number;
  readonly calibrationTokens: number;
  /** Predicted peak resident memory. */
  readonly peakBytes: number;
  /** Where activations wait between blocks: on the disk where --memory leaves no room for them. */
  readonly activations: "memory" | "disk";
  /** By kind of module. */
  readonly gains: readonly Gain[];
  readonly projections: readonly {
    readonly name: string;
    readonly rows: number;
    readonly columns: number;
    readonly rank: number | null;
    readonly width?: number;
  }[];
}

export interface TextResult {
  readonly file: string;
  readonly tokens: number;
  readonly windows: number;
  readonly window: number;
  readonly perplexity: number;
  readonly meanNll: number;
}

export interface TimedText extends TextResult {
  /** Of the forward passes and their likelihoods; reading and tokenising are not among them. */
  readonly seconds: number;
}

export interface TaskResult {
  readonly file: string;
  /** `multiple_choice` where neither the file nor its folder is named after a task. */
  readonly task: string;
  /** Questions asked: all of the file's, or --limit. */
  readonly rows: number;
  /** Whether prompts began with the beginning-of-text token. */
  readonly bos: boolean;
  readonly acc: number;
  /** Standard errors of the mean over the rows (sample variance); null for a single row. */
  readonly accStderr: number | null;
  /** By the likelihood divided by the choice's characters; null where the task does not report it. */
  readonly accNorm: number | null;
  readonly accNormStderr: number | null;
  /** exp of the mean negative log-likelihood of the target, for tasks that ask for one (LAMBADA). */
  readonly perplexity: number | null;
}

export interface EvaluateResult {
  readonly model: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly texts: readonly TimedText[];
  readonly tasks: readonly TaskResult[];
  readonly seconds: number;
  readonly peakRssBytes: number;
}

export interface GenerateResult {
  readonly model: string;
  readonly prompt: string;
  readonly text: string;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

export interface InspectResult {
  readonly model: string;
  readonly modelType: string;
  readonly blocks: number;
  readonly hiddenSize: number;
  readonly vocabulary: number;
  readonly parameters: number;
  readonly bytes: number;
  /** How the weights are stored, most common first. */
  readonly formats: readonly string[];
  /** The method that made it; null for a model that was not compressed. */
  readonly compressedBy: string | null;
  /** The projections of one block each kind, with how many blocks share the shape. */
  readonly projections: readonly {
    readonly name: string;
    readonly rows: number;
    readonly columns: number;
    readonly blocks: number;
    readonly breakEvenRank: number;
    /** Ranks over the blocks, lowest and highest; null where dense. */
    readonly ranks: readonly [number, number] | null;
  }[];
}

export interface PushResult {
  readonly out: string;
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  readonly url: string;
  /** Whether the repository was made. */
  readonly created: boolean;
  readonly files: readonly { readonly file: string; readonly bytes: number }[];
  readonly bytes: number;
  readonly seconds: number;
}

/** A model that the playground runs. */
export interface PlaygroundModel {
  readonly name: string;
  /** `nsvd-i, keep 0.8`, or `dense`; null for an exported graph, which does not tell. */
  readonly made: string | null;
  readonly dtype: OnnxDType;
  /** Null where only an exported graph is there. */
  readonly parameters: number | null;
  /** Of the graph and its weights. */
  readonly bytes: number;
  readonly folder: string;
  /** Relative to the folder: `onnx/model.onnx` and its data files. */
  readonly graph: string;
  readonly data: readonly string[];
}
