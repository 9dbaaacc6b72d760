/**
 * Rotary angles (Su et al. 2021, arXiv:2104.09864) with the scalings that Llama checkpoints use.
 * Reads both dialects of config.json: `rope_parameters` (transformers 5), `rope_theta` and `rope_scaling` (transformers 4).
 *
 *   e width of a head · p positions · frequency i is theta^(-2i/e), i < e/2
 */
import { UnsupportedError } from "../errors.ts";
import { type RopeTable, Tensor } from "../tensor/index.ts";
import { type Json, object, positive } from "./config.ts";

/** The e / 2 angles that one position adds, in radians, and what the cosines and sines are multiplied by. */
export interface Rotation {
  readonly frequencies: Float64Array;
  readonly magnitude: number;
}

/** @throws UnsupportedError for a scaling that is not known. */
export function parseRotation(json: Json, headDim: number): Rotation {
  const parameters: Json = { ...json, ...object(json, "rope_scaling"), ...object(json, "rope_parameters") };
  const theta = positive(parameters, "rope_theta", 10_000);
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
  const type = parameters.rope_type ?? parameters.type ?? "default";
  if (type === "default") return { frequencies: plain, magnitude: 1 };
  if (type === "linear") return { frequencies: plain.map((f) => f / positive(parameters, "factor")), magnitude: 1 };
  if (type === "llama3") return { frequencies: plain.map((f) => llama3(f, parameters)), magnitude: 1 };
  if (type === "yarn") return yarn(plain, theta, parameters);
  throw new UnsupportedError(
    `config.json: rope_scaling of type ${String(type)} is not known; known are default, linear, llama3 and yarn`,
  );
}

/** The context length before scaling. */
function originalPositions(parameters: Json): number {
  return positive(parameters, "original_max_position_embeddings", positive(parameters, "max_position_embeddings"));
}

/** Llama 3.1's rule: long wavelengths are stretched by `factor`, short ones kept, those between blended. */
function llama3(frequency: number, parameters: Json): number {
  const factor = positive(parameters, "factor");
  const low = positive(parameters, "low_freq_factor");
  const high = positive(parameters, "high_freq_factor");
  const turns = (originalPositions(parameters) * frequency) / (2 * Math.PI); // turns over the original context
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const blend = (turns - low) / (high - low);
  return ((1 - blend) * frequency) / factor + blend * frequency;
}

/** Peng et al. 2023, arXiv:2309.00071: fast frequencies kept, slow ones stretched, a linear ramp between. */
function yarn(plain: Float64Array, theta: number, parameters: Json): Rotation {
  const factor = positive(parameters, "factor");
  const original = originalPositions(parameters);
  const last = 2 * plain.length - 1;
  /** The dimension whose angle makes `turns` turns over the original context. */
  const dimension = (turns: number) => (plain.length * Math.log(original / (turns * 2 * Math.PI))) / Math.log(theta);
  const low = Math.max(Math.floor(dimension(positive(parameters, "beta_fast", 32))), 0);
  const high = Math.min(Math.ceil(dimension(positive(parameters, "beta_slow", 1))), last);
  const stretched = (i: number) => Math.min(Math.max((i - low) / Math.max(high - low, 0.001), 0), 1);
  const frequencies = plain.map((f, i) => (f / factor) * stretched(i) + f * (1 - stretched(i)));
  return { frequencies, magnitude: positive(parameters, "attention_factor", factor > 1 ? 0.1 * Math.log(factor) + 1 : 1) };
}

/** Cosines and sines of `count` positions from `start`: p x (e / 2) each. */
export function ropeTable({ frequencies, magnitude }: Rotation, start: number, count: number): RopeTable {
  const half = frequencies.length;
  const angles = Float64Array.from(
    { length: count * half },
    (_, i) => (start + Math.floor(i / half)) * (frequencies[i % half] ?? 0),
  );
  const table = (f: (angle: number) => number) =>
    Tensor.from(
      Float32Array.from(angles, (angle) => magnitude * f(angle)),
      [count, half],
    );
  return { cos: table(Math.cos), sin: table(Math.sin) };
}
