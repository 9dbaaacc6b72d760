/** Choosing the next token from logits: greedy at temperature 0, otherwise by their softmax, reproducible from a seed. */
import { mulberry32 } from "../random.ts";

/** @returns a function from the logits of one position (v values) to a token id. */
export function sampler({ temperature, seed }: { temperature: number; seed: number }): (logits: Float32Array) => number {
  if (temperature === 0) return greedy;
  const random = mulberry32(seed);
  return (logits) => draw(logits, temperature, random());
}

/** The id of the largest logit, the first of equals. */
function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best;
}

/** The id at which the cumulated softmax(logits / temperature) passes `point` in [0, 1). */
function draw(logits: Float32Array, temperature: number, point: number): number {
  const max = logits[greedy(logits)] as number;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - max) / temperature));
  let left = point * weights.reduce((a, b) => a + b, 0);
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i] as number;
    if (left < 0) return i;
  }
  return weights.length - 1;
}
