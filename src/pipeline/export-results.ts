/** What `export` gives back. */

/** How far the logits of what was written are from the model's own. */
export interface LogitCheck {
  readonly tokens: number;
  /** Largest difference as a share of the largest logit: all tokens at once, and one by one with a cache. */
  readonly prompt: number;
  /** Null where nothing runs token by token. */
  readonly cached: number | null;
  /** Mean over the tokens of KL(model || written), nats. */
  readonly divergence: number;
}

/** One of the models in the folder. */
export interface ExportedModel {
  readonly dtype: string;
  /** Files of its own, relative to the folder. */
  readonly files: readonly string[];
  readonly bytes: number;
  /** Of these, zeros that fill ranks and widths up to whole blocks. */
  readonly paddingBytes: number;
  readonly seconds: number;
  /** Null when it was not asked for, or nothing could run it. */
  readonly check: LogitCheck | null;
}

export interface ExportResult {
  readonly model: string;
  readonly out: string;
  readonly to: "onnx" | "dense";
  readonly models: readonly ExportedModel[];
  readonly seconds: number;
  readonly peakRssBytes: number;
}
