/**
 * Weights as small whole numbers, a scale for each block of a row: w ~ (code - 2^(bits - 1)) scale. The layout is the one of
 * MatMulNBits and GatherBlockQuantized in onnxruntime: codes of a row from left to right, two 4-bit codes a byte, the first
 * in the low half.
 */

/** Values that share a scale. */
export const BLOCK = 32;

export type Bits = 4 | 8;

export interface QuantizedRows {
  /** m x (n bits / 8) */
  readonly codes: Uint8Array;
  /** m x (n / BLOCK) */
  readonly scales: Float32Array;
}

/**
 * The block's value of largest magnitude gets the lowest code, which is exact; another value is off by half a scale at most,
 * or by a whole one where it is as large with the other sign.
 * @param values m x n, n a multiple of BLOCK.
 * @param round the scales as they will be stored.
 */
export function quantizeRows(values: Float32Array, bits: Bits, round: (scale: number) => number = Math.fround): QuantizedRows {
  const blocks = values.length / BLOCK;
  const scales = new Float32Array(blocks);
  const codes = new Uint8Array((values.length * bits) / 8);
  for (let block = 0; block < blocks; block++) {
    const scale = round(-extreme(values, block * BLOCK) / 2 ** (bits - 1));
    scales[block] = scale;
    if (bits === 8) encode8(values, codes, block * BLOCK, scale);
    else encode4(values, codes, block * BLOCK, scale);
  }
  return { codes, scales };
}

/** The value of largest magnitude in a block. */
function extreme(values: Float32Array, start: number): number {
  let found = 0;
  for (let i = start; i < start + BLOCK; i++) {
    const value = values[i] as number;
    if (Math.abs(value) > Math.abs(found)) found = value;
  }
  return found;
}

function encode8(values: Float32Array, codes: Uint8Array, start: number, scale: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = start; i < start + BLOCK; i++) codes[i] = code((values[i] as number) * inverse, 128);
}

function encode4(values: Float32Array, codes: Uint8Array, start: number, scale: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = start; i < start + BLOCK; i += 2) {
    codes[i / 2] = code((values[i] as number) * inverse, 8) | (code((values[i + 1] as number) * inverse, 8) << 4);
  }
}

/** The nearest code; `zero` is the one of 0, in the middle. */
function code(steps: number, zero: number): number {
  return Math.min(Math.max(Math.round(steps) + zero, 0), 2 * zero - 1);
}
