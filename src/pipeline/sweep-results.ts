/** What `calibrate` and `sweep` give back; `results.json` of a sweep holds a SweepResult. */
import type { CalibrationText } from "../calibrate/statistics-manifest.ts";
import type { ProjectionReport, TaskResult, TextResult } from "./results.ts";

export interface CalibrateResult {
  readonly out: string;
  readonly model: string;
  readonly texts: readonly CalibrationText[];
  readonly window: number;
  readonly tokens: number;
  /** Of random tokens, among them. */
  readonly randomWindows: number;
  readonly blocks: number;
  readonly seconds: number;
  readonly peakRssBytes: number;
}

/** The dense model, or one method at one keep. */
export interface SweepRow {
  readonly parameters: number;
  readonly bytes: number;
  /** In the order of the protocol's texts. */
  readonly texts: readonly TextResult[];
  /** Arithmetic mean of the texts' perplexities; null without a text. */
  readonly averagePerplexity: number | null;
  /** Zero-shot tasks, in the order of the protocol's. */
  readonly tasks: readonly TaskResult[];
  /** Arithmetic mean of the tasks' acc; null without a task. */
  readonly averageAccuracy: number | null;
  /** Of measuring, and its share of decomposing where cells share it. */
  readonly seconds: number;
}

export interface SweepCell extends SweepRow {
  readonly method: string;
  readonly keep: number;
  readonly keptProjections: number;
  readonly keptTotal: number;
  readonly projections: readonly ProjectionReport[];
}

/** How much the first k directions of a projection hold, by the measure that the method truncates by. */
export interface Spectrum {
  readonly method: string;
  /** The projection's full name. */
  readonly name: string;
  /** All directions there are: the rank of the last point. */
  readonly rank: number;
  /** Shares in [0, 1] at evenly spread ranks, the first 0. */
  readonly retained: readonly number[];
}

/** All that decides the numbers: two runs with equal protocols are one. */
export interface SweepProtocol {
  /** Version of rankfold. */
  readonly version: string;
  readonly modelFingerprint: string;
  readonly texts: readonly {
    readonly text: string;
    readonly sha256: string;
    readonly tokens: number;
    readonly windows: number;
  }[];
  readonly window: number;
  readonly tasks: readonly {
    /** The file's name, with its folder's where two are called the same. */
    readonly file: string;
    readonly task: string;
    /** Of the questions that were asked. */
    readonly sha256: string;
    readonly rows: number;
    readonly bos: boolean;
  }[];
  /** Empty where no method measures activations. */
  readonly calibration: readonly CalibrationText[];
  readonly calibrationWindow: number | null;
  /** Later blocks are calibrated on the dense model's activations. */
  readonly propagate: "original";
  readonly dtype: string;
  /** What methods and allocation read. */
  readonly options: Readonly<Record<string, string | number | null>>;
}

export interface SweepResult {
  readonly out: string;
  /** The command line that makes the same. */
  readonly command: string;
  readonly created: string;
  readonly node: string;
  readonly machine: { readonly processor: string; readonly threads: number };
  readonly model: { readonly path: string; readonly blocks: number };
  readonly protocol: SweepProtocol;
  /** Null until it was measured. */
  readonly dense: SweepRow | null;
  readonly cells: readonly SweepCell[];
  readonly spectra: readonly Spectrum[];
  /** Of this run, with what an interrupted one before it took. */
  readonly seconds: number;
  readonly peakRssBytes: number;
}
