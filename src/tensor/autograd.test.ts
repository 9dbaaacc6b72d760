import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NumericsError, UnsupportedError } from "../errors.ts";
import { record } from "./autograd.ts";
import { causalAttention, klDivergence, klDivergenceGradient, rmsNorm, rope, swiglu } from "./nn.ts";
import { AdamW } from "./optimizer.ts";
import { random } from "./random.test-helper.ts";
import { hcat, scope, Tensor, vcat } from "./tensor.ts";

const size = fc.integer({ min: 1, max: 37 });
const seed = fc.integer({ min: 1, max: 1e6 });

const dot = (a: Tensor, b: Tensor) => {
  const [x, y] = [a.toFloat64Array(), b.toFloat64Array()];
  return x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
};

/** Step of the central differences: their error is about step^2, the rounding's about 1e-7 / step. */
const STEP = 5e-3;

/**
 * Along a random direction d, <gradient, d> against (f(x + h d) - f(x - h d)) / 2h with f = <output, weights>; the largest
 * difference relative to the size of both.
 */
function directionError(inputs: readonly Tensor[], work: (...inputs: Tensor[]) => Tensor): number {
  return scope(() => {
    const { output, recording } = record(inputs, () => work(...inputs));
    const weights = random(output.rows, output.columns, 77);
    const gradients = recording.gradients(output, weights);
    const errors = inputs.map((input, i) => {
      const direction = random(1, input.size, 99 + i).reshape(...input.shape);
      const value = (h: number) => dot(work(...inputs.map((x, j) => (i === j ? x.add(direction.scale(h)) : x))), weights);
      const slope = (value(STEP) - value(-STEP)) / (2 * STEP);
      const found = dot(gradients.get(input) as Tensor, direction);
      // The sum of n terms of size 1 has size sqrt(n); an f32 value of that size over 2h.
      return Math.abs(found - slope) / (Math.abs(slope) + Math.sqrt(output.size));
    });
    return Math.max(...errors);
  });
}

describe("gradients agree with central differences", () => {
  test("matmulTransposed and add, a row repeated as a bias", () => {
    fc.assert(
      fc.property(size, size, size, seed, (t, m, n, s) => {
        const inputs = [random(t, n, s), random(m, n, s + 1), random(1, m, s + 2)];
        expect(directionError(inputs, (x, W, b) => x.matmulTransposed(W as Tensor).add(b as Tensor))).toBeLessThan(1e-3);
      }),
      { numRuns: 30 },
    );
  });

  test("rmsNorm", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 150 }), size, seed, (t, d, s) => {
        const inputs = [random(t, d, s), random(1, d, s + 1).reshape(d)];
        expect(directionError(inputs, (x, w) => rmsNorm(x, w as Tensor, 1e-1))).toBeLessThan(1e-3);
      }),
      { numRuns: 30 },
    );
  });

  test("rope, scaled tables too", () => {
    const angles = random(5, 3, 4);
    const table = { cos: Tensor.from(angles.toFloat64Array().map(Math.cos), [5, 3]).to("f32").scale(1.3), sin: angles };
    expect(directionError([random(10, 18, 1)], (x) => rope(x, table))).toBeLessThan(1e-3);
  });

  test("swiglu", () => {
    fc.assert(
      fc.property(size, size, seed, (t, f, s) => {
        expect(directionError([random(t, f, s).scale(3), random(t, f, s + 1)], (g, u) => swiglu(g, u as Tensor))).toBeLessThan(
          1e-3,
        );
      }),
      { numRuns: 30 },
    );
  });

  test("causalAttention: grouped queries, earlier keys, windows, several tiles", () => {
    const shapes = fc.record({
      sequences: fc.integer({ min: 1, max: 3 }),
      t: fc.integer({ min: 1, max: 150 }),
      past: fc.integer({ min: 0, max: 9 }),
      keyValueHeads: fc.integer({ min: 1, max: 2 }),
      queries: fc.integer({ min: 1, max: 3 }),
      e: fc.integer({ min: 1, max: 9 }),
      window: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(shapes, seed, ({ sequences, t, past, keyValueHeads, queries, e, window }, s) => {
        const heads = { sequences, queryHeads: queries * keyValueHeads, keyValueHeads, scale: 1 / Math.sqrt(e) };
        const keys = (n: number) => random(sequences * (t + past), keyValueHeads * e, s + n);
        const inputs = [random(sequences * t, queries * keyValueHeads * e, s), keys(1), keys(2)];
        const options = { ...heads, ...(window === undefined ? {} : { window }) };
        expect(directionError(inputs, (q, k, v) => causalAttention(q, k as Tensor, v as Tensor, options))).toBeLessThan(2e-3);
      }),
      { numRuns: 30 },
    );
  });

  test("ranges and joins, of constants too", () => {
    const [x, constant] = [random(6, 9, 3), random(6, 2, 4)];
    const rearranged = (a: Tensor) => {
      const wide = hcat(a.columnRange(4, 9), constant.selectColumns([1, 0, 0]), a.columnRange(0, 6).contiguous());
      return vcat(wide.rowRange(2, 6), wide);
    };
    expect(directionError([x], rearranged)).toBeLessThan(1e-3);
  });

  test("an input used twice gets the sum", () => {
    const [x, w] = [random(7, 5, 3), random(1, 5, 8).reshape(5)];
    expect(directionError([x], (a) => swiglu(a, a.add(rmsNorm(a, w, 1e-1))))).toBeLessThan(1e-3);
  });
});

test("klDivergenceGradient gives the divergences, and factor (q - p)", () => {
  scope(() => {
    const [reference, logits] = [random(9, 300, 1).scale(4), random(9, 300, 2).scale(4)];
    const { divergences, gradient } = klDivergenceGradient(reference, logits, 0.5);
    const plain = klDivergence(reference, logits);
    divergences.forEach((value, i) => {
      expect(value).toBeCloseTo(plain[i] as number, 5);
    });
    const direction = random(9, 300, 3);
    const at = (h: number) => klDivergence(reference, logits.add(direction.scale(h))).reduce((a, b) => a + b, 0);
    expect(dot(gradient, direction)).toBeCloseTo((0.5 * (at(1e-2) - at(-1e-2))) / 2e-2, 3);
  });
});

describe("record", () => {
  test("refuses an operation that has no derivative", () => {
    const x = random(3, 4, 1);
    expect(() => record([x], () => x.abs())).toThrow(UnsupportedError);
  });

  test("says when a source has no part in the output", () => {
    const [x, y] = [random(3, 4, 1), random(3, 4, 2)];
    const { output, recording } = record([x, y], () => x.add(x));
    expect(() => recording.gradients(output, output)).toThrow(NumericsError);
  });
});

test("AdamW walks to the minimum of a quadratic, and goes on from saved moments as if it had not stopped", () => {
  const options = { learningRate: 0.05, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
  const target = random(13, 7, 1);
  let [x, rule] = [random(13, 7, 2), new AdamW(91)];
  let resumed: Tensor | undefined;
  for (let step = 1; step <= 400; step++) {
    if (step === 200) {
      const again = new AdamW(91);
      again.restore(rule.moments());
      resumed = again.step(x, x.sub(target), step, options);
    }
    x = rule.step(x, x.sub(target), step, options);
    if (step === 200) expect((resumed as Tensor).sub(x).sumOfSquares()).toBe(0);
  }
  expect(Math.sqrt(x.sub(target).sumOfSquares() / target.sumOfSquares())).toBeLessThan(1e-2);
  rule = new AdamW(91);
  // The first step of Adam is the learning rate along the gradient's sign.
  const first = rule.step(target, target.scale(1e3), 1, options).sub(target);
  for (const move of first.toFloat32Array()) expect(Math.abs(move)).toBeCloseTo(0.05, 4);
});
