/** Deterministic matrices for tests. */
import { Tensor } from "./tensor.ts";

/** Values in [-1, 1), f32, the same for the same seed. */
export function random(rows: number, columns: number, seed: number): Tensor {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return Tensor.from(Float32Array.from({ length: rows * columns }, next), [rows, columns]);
}
