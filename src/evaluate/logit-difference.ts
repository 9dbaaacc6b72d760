/** How far a model's logits are from those that they stand for. */
import { klDivergence, scope, Tensor } from "../tensor/index.ts";

/** Logits of t tokens over v ids, row after row. */
export interface Logits {
  readonly values: Float32Array;
  readonly vocabulary: number;
}

export interface LogitDifference {
  /** Largest difference, as a share of the largest logit. */
  readonly relative: number;
  /** Mean over tokens of KL(reference || logits), nats. */
  readonly divergence: number;
}

export function logitDifference(reference: Logits, values: Float32Array): LogitDifference {
  const { values: expected, vocabulary } = reference;
  const magnitude = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((values[i] as number) - (expected[i] as number));
    worst = difference > worst || Number.isNaN(difference) ? difference : worst;
  }
  return { relative: worst / magnitude, divergence: meanDivergence(expected, values, vocabulary) };
}

function meanDivergence(expected: Float32Array, values: Float32Array, vocabulary: number): number {
  const shape = [expected.length / vocabulary, vocabulary];
  const rows = scope(() => klDivergence(Tensor.from(expected, shape), Tensor.from(values, shape)));
  return rows.reduce((sum, row) => sum + row, 0) / rows.length;
}
