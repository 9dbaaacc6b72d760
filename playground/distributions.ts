/** Next-token distributions of two models after the same text. */

/** A token and its probability. */
export interface Choice {
  readonly id: number;
  readonly text: string;
  readonly probability: number;
}

/** What two models expect after one token of a text. */
export interface Position {
  /** KL(reference || other), nats. */
  readonly divergence: number;
  /** The likeliest tokens of each, likeliest first. */
  readonly reference: readonly Choice[];
  readonly other: readonly Choice[];
}

const CHOICES = 5;

/** @param reference, other logits of one position, v values each. */
export function comparePosition(reference: Float32Array, other: Float32Array, textOf: (id: number) => string): Position {
  const p = logProbabilities(reference);
  const q = logProbabilities(other);
  const choices = (logs: Float64Array) =>
    largest(logs, CHOICES).map((id) => ({ id, text: textOf(id), probability: Math.exp(logs[id] as number) }));
  return { divergence: divergence(p, q), reference: choices(p), other: choices(q) };
}

/** log softmax */
export function logProbabilities(logits: Float32Array): Float64Array {
  const max = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const sum = logits.reduce((total, value) => total + Math.exp(value - max), 0);
  const logSum = max + Math.log(sum);
  return Float64Array.from(logits, (value) => value - logSum);
}

/** KL(p || q) of log probabilities, nats. */
export function divergence(p: Float64Array, q: Float64Array): number {
  // Rounding may leave a hair below zero.
  return Math.max(
    0,
    p.reduce((sum, log, id) => sum + Math.exp(log) * (log - (q[id] as number)), 0),
  );
}

/** The ids of the largest values, largest first, the lower of equals first. */
export function largest(values: Float64Array, count: number): number[] {
  const found: number[] = [];
  for (let id = 0; id < values.length; id++) {
    const value = values[id] as number;
    if (found.length === count && value <= (values[found[count - 1] as number] as number)) continue;
    const place = found.findIndex((other) => (values[other] as number) < value);
    found.splice(place < 0 ? found.length : place, 0, id);
    if (found.length > count) found.pop();
  }
  return found;
}
