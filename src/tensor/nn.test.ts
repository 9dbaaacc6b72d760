import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { causalAttention, draw, klDivergence, likeliest, negativeLogLikelihood, rmsNorm, rope, swiglu } from "./nn.ts";
import { random } from "./random.test-helper.ts";
import { scope, Tensor } from "./tensor.ts";

/** The largest difference between a tensor and values worked out in f64. */
function difference(got: Tensor, expected: ArrayLike<number>): number {
  return got.toFloat64Array().reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] as number))), 0);
}

interface Shape {
  readonly sequences: number;
  /** Queries and keys of a sequence. */
  readonly t: number;
  readonly s: number;
  readonly queryHeads: number;
  readonly keyValueHeads: number;
  readonly e: number;
  readonly window?: number;
}

/** Attention by its definition, in f64. */
function naive(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  { sequences, t, s, queryHeads, keyValueHeads, e, window = s }: Shape,
) {
  const out = new Float64Array(sequences * t * queryHeads * e);
  const at = (rows: number, row: number, heads: number, head: number) => ((rows + row) * heads + head) * e;
  for (let b = 0; b < sequences; b++)
    for (let h = 0; h < queryHeads; h++)
      for (let i = 0; i < t; i++) {
        const g = Math.floor(h / (queryHeads / keyValueHeads));
        const position = s - t + i;
        const seen = Array.from({ length: s }, (_, j) => j).filter((j) => j <= position && j > position - window);
        const weights = seen.map((j) => {
          let dot = 0;
          for (let l = 0; l < e; l++)
            dot += (q[at(b * t, i, queryHeads, h) + l] as number) * (k[at(b * s, j, keyValueHeads, g) + l] as number);
          return Math.exp(dot / Math.sqrt(e));
        });
        const total = weights.reduce((a, c) => a + c, 0);
        seen.forEach((j, n) => {
          for (let l = 0; l < e; l++) {
            out[at(b * t, i, queryHeads, h) + l] =
              (out[at(b * t, i, queryHeads, h) + l] as number) +
              ((weights[n] as number) / total) * (v[at(b * s, j, keyValueHeads, g) + l] as number);
          }
        });
      }
  return out;
}

const shapes = fc.record({
  sequences: fc.integer({ min: 1, max: 3 }),
  t: fc.integer({ min: 1, max: 90 }),
  past: fc.integer({ min: 0, max: 40 }),
  keyValueHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 3 }),
  half: fc.integer({ min: 1, max: 9 }),
  window: fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }),
});

describe("attention", () => {
  test("agrees with its definition: grouped queries, cached keys, windows, tiles that do not fill", () => {
    fc.assert(
      fc.property(shapes, ({ sequences, t, past, keyValueHeads, group, half, window }) =>
        scope(() => {
          const shape: Shape = {
            sequences,
            t,
            s: t + past,
            queryHeads: keyValueHeads * group,
            keyValueHeads,
            e: 2 * half,
            ...(window ? { window } : {}),
          };
          const q = random(sequences * t, shape.queryHeads * shape.e, 1);
          const k = random(sequences * shape.s, keyValueHeads * shape.e, 2);
          const v = random(sequences * shape.s, keyValueHeads * shape.e, 3);
          const got = causalAttention(q, k, v, { ...shape, scale: 1 / Math.sqrt(shape.e) });
          const expected = naive(q.toFloat64Array(), k.toFloat64Array(), v.toFloat64Array(), shape);
          // Values below 1, sums of at most 130 terms in f32.
          expect(difference(got, expected)).toBeLessThan(130 * 2 ** -23);
        }),
      ),
      { numRuns: 40 },
    );
  });

  test("scores of every size keep the softmax finite", () => {
    scope(() => {
      const q = random(70, 16, 1).scale(1e4);
      expect(causalAttention(q, q, q, { sequences: 1, queryHeads: 2, keyValueHeads: 2, scale: 1 }).isFinite()).toBe(true);
    });
  });

  test("refuses heads that do not divide the columns", () => {
    scope(() => {
      const q = random(4, 12, 1);
      expect(() => causalAttention(q, q, q, { sequences: 1, queryHeads: 5, keyValueHeads: 5, scale: 1 })).toThrow(ShapeError);
    });
  });
});

describe("row-wise operations agree with their definitions", () => {
  test("columns are drawn where the sum of probabilities passes the number", () => {
    // softmax: 1/4, 1/2, 1/4
    const rows = Array.from({ length: 5 }, () => [0, Math.log(2), 0]);
    scope(() => {
      const logits = Tensor.from(Float32Array.from(rows.flat()), [5, 3]);
      expect([...draw(logits, Float64Array.of(0, 0.2, 0.3, 0.7, 0.99))]).toEqual([0, 0, 1, 1, 2]);
      const certain = Tensor.from(Float32Array.of(-1e4, 0, -1e4), [1, 3]);
      for (const u of [0, 0.5, 1 - 2 ** -53]) expect([...draw(certain, Float64Array.of(u))]).toEqual([1]);
      expect(() => draw(certain, Float64Array.of(0, 0))).toThrow(ShapeError);
    });
  });

  test("the likeliest of each row is the first of the largest", () => {
    scope(() => {
      const logits = Tensor.from(Float32Array.of(1, 3, 3, -2, -5, -1, -1, -9), [2, 4]);
      expect([...likeliest(logits)]).toEqual([1, 1]);
      const wide = random(3, 1001, 4);
      const rows = Array.from({ length: 3 }, (_, i) => [...wide.rowRange(i, i + 1).toFloat32Array()]);
      expect([...likeliest(wide)]).toEqual(rows.map((row) => row.indexOf(Math.max(...row))));
    });
  });

  test("RMSNorm, on tiny and huge rows", () => {
    scope(() => {
      const weight = random(1, 19, 2).reshape(19);
      for (const size of [1e-3, 1, 1e6]) {
        const x = random(5, 19, 1).scale(size);
        const [values, w] = [x.toFloat64Array(), weight.toFloat64Array()];
        const expected = values.map((value, i) => {
          const row = values.slice(Math.floor(i / 19) * 19, Math.floor(i / 19 + 1) * 19);
          return (value / Math.sqrt(row.reduce((a, b) => a + b * b, 0) / 19 + 1e-5)) * (w[i % 19] as number);
        });
        expect(difference(rmsNorm(x, weight, 1e-5), expected)).toBeLessThan(5 * 19 * 2 ** -23);
      }
    });
  });

  test("rope turns pairs by their angle, and back by its negative", () => {
    scope(() => {
      const x = random(6, 16, 1);
      const angles = random(3, 4, 2);
      const radians = angles.toFloat64Array();
      const table = (sign: number) => ({
        cos: Tensor.from(Float32Array.from(radians, Math.cos), [3, 4]),
        sin: Tensor.from(
          Float32Array.from(radians, (angle) => sign * Math.sin(angle)),
          [3, 4],
        ),
      });
      const turned = rope(x, table(1));
      expect(difference(rope(turned, table(-1)), x.toFloat64Array())).toBeLessThan(8 * 2 ** -23);
      // Row 4 stands at position 4 mod 3 = 1; the first head's pair (0, 4).
      const [a, b] = [x.toFloat64Array()[4 * 16] as number, x.toFloat64Array()[4 * 16 + 4] as number];
      const angle = angles.toFloat64Array()[4] as number;
      expect(turned.toFloat64Array()[4 * 16]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
    });
  });

  test("SwiGLU", () => {
    scope(() => {
      const [gate, up] = [random(4, 33, 1).scale(20), random(4, 33, 2)];
      const expected = gate.toFloat64Array().map((g, i) => (g / (1 + Math.exp(-g))) * (up.toFloat64Array()[i] as number));
      expect(difference(swiglu(gate, up), expected)).toBeLessThan(20 * 4e-7);
    });
  });

  test("negative log-likelihood and divergence, on logits of every size", () => {
    scope(() => {
      for (const size of [1, 50]) {
        const [p, q] = [random(3, 1500, 1).scale(size), random(3, 1500, 2).scale(size)];
        const logSoftmax = (logits: Tensor) => {
          const values = logits.toFloat64Array();
          return Array.from({ length: 3 }, (_, r) => {
            const row = values.slice(r * 1500, (r + 1) * 1500);
            const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x - size), 0)) + size;
            return row.map((x) => x - total);
          });
        };
        const [lp, lq] = [logSoftmax(p), logSoftmax(q)];
        negativeLogLikelihood(p, Uint32Array.of(0, 700, 1499)).forEach((nll, r) => {
          expect(Math.abs(nll + (lp[r]?.[[0, 700, 1499][r] as number] as number))).toBeLessThan(1e-5 * size);
        });
        klDivergence(p, q).forEach((kl, r) => {
          const exact = (lp[r] as Float64Array).reduce((sum, x, i) => sum + Math.exp(x) * (x - (lq[r]?.[i] as number)), 0);
          expect(Math.abs(kl - exact)).toBeLessThan(1e-4 * size);
        });
        for (const kl of klDivergence(p, p)) expect(Math.abs(kl)).toBeLessThan(1e-6);
      }
    });
  });
});
