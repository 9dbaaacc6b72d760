/** Quantised rows: their layout is onnxruntime's, their error is bounded by the scale. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Bits, BLOCK, quantizeRows } from "./block-quantization.ts";

/** (code - 2^(bits - 1)) scale for each value. */
function dequantize({ codes, scales }: ReturnType<typeof quantizeRows>, bits: Bits): number[] {
  const unpacked = bits === 8 ? [...codes] : [...codes].flatMap((byte) => [byte & 15, byte >> 4]);
  return unpacked.map((code, i) => (code - 2 ** (bits - 1)) * (scales[Math.floor(i / BLOCK)] as number));
}

const blocks = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -100, max: 100 }), {
  minLength: BLOCK,
  maxLength: BLOCK,
});

test.each([4, 8] as const)("with %d bits no value is off by more than a scale, and the largest is exact", (bits) => {
  fc.assert(
    fc.property(blocks, (list) => {
      const values = Float32Array.from(list);
      const quantized = quantizeRows(values, bits);
      const got = dequantize(quantized, bits);
      const largest = values.reduce((i, value, j) => (Math.abs(value) > Math.abs(values[i] as number) ? j : i), 0);
      const scale = Math.abs(quantized.scales[0] as number);
      expect(scale).toBeCloseTo(Math.abs(values[largest] as number) / 2 ** (bits - 1), 5);
      expect(got[largest]).toBeCloseTo(values[largest] as number, 4);
      for (const [i, value] of values.entries()) expect(Math.abs((got[i] as number) - value)).toBeLessThanOrEqual(scale * 1.0001);
    }),
  );
});

test("two 4-bit codes share a byte, the first in the low half", () => {
  const values = new Float32Array(BLOCK);
  values.set([-8, 7, 3]);
  const { codes, scales } = quantizeRows(values, 4);
  expect([...scales]).toEqual([1]);
  expect([...codes.slice(0, 3)]).toEqual([0 | (15 << 4), 11 | (8 << 4), 8 | (8 << 4)]);
});

test("a block of zeros stays zero", () => {
  expect(dequantize(quantizeRows(new Float32Array(BLOCK), 4), 4).every((value) => value === 0)).toBe(true);
});

test("135 million values take seconds: a million well under a second", () => {
  const values = Float32Array.from({ length: 2 ** 20 }, (_, i) => Math.sin(i));
  const start = performance.now();
  quantizeRows(values, 4);
  expect(performance.now() - start).toBeLessThan(1000);
});
