/** What one kind of module gives up in an allocation; gains.ts works it out. A file of its own, for the playground reads results too. */
export interface Gain {
  /** What the modules are called in every block: `up_proj`, `channels`. */
  readonly kind: string;
  readonly becomes: "factors" | "narrower";
  /** How many are replaced. */
  readonly modules: number;
  readonly parametersSaved: number;
  /** Predicted KL to the dense model's predictions, in nats a token, each replaced alone, summed; null where it was not measured. */
  readonly divergence: number | null;
}
