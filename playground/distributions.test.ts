import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { logitDifference } from "../src/evaluate/logit-difference.ts";
import { comparePosition, divergence, largest, logProbabilities } from "./distributions.ts";

const logits = (length: number) =>
  fc
    .array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values));
const pair = fc.integer({ min: 1, max: 70 }).chain((length) => fc.tuple(logits(length), logits(length)));

describe("divergence()", () => {
  test("is what the engine computes", () => {
    fc.assert(
      fc.property(pair, ([p, q]) => {
        const expected = logitDifference({ values: p, vocabulary: p.length }, q).divergence;
        const found = divergence(logProbabilities(p), logProbabilities(q));
        // The engine's log-softmax is f32: 2^-23 of logits and divergences up to 60.
        expect(Math.abs(found - expected)).toBeLessThan(60 * 60 * 2 ** -23);
      }),
    );
  });

  test("is zero of a distribution from itself, shifted or not", () => {
    fc.assert(
      fc.property(logits(9), (p) => {
        expect(divergence(logProbabilities(p), logProbabilities(p))).toBe(0);
        const shifted = divergence(logProbabilities(p), logProbabilities(p.map((value) => value + 4)));
        expect(shifted).toBeLessThan(1e-5);
      }),
    );
  });
});

test("largest() sorts, the first of equals first, and copes with few values", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), fc.integer({ min: 1, max: 6 }), (values, count) => {
      const sorted = values.map((value, id) => ({ value, id })).sort((a, b) => b.value - a.value || a.id - b.id);
      expect(largest(Float64Array.from(values), count)).toEqual(sorted.slice(0, count).map(({ id }) => id));
    }),
  );
});

test("comparePosition() names the likeliest tokens of both, with probabilities", () => {
  const [p, q] = [Float32Array.of(0, Math.log(6), 0), Float32Array.of(Math.log(2), 0, 0)];
  const { reference, other } = comparePosition(p, q, (id) => "abc"[id] as string);
  expect(reference.map(({ text }) => text)).toEqual(["b", "a", "c"]);
  expect(reference.map(({ probability }) => probability)).toEqual([0.75, 0.125, 0.125].map((x) => expect.closeTo(x, 6)));
  expect(other[0]).toEqual({ id: 0, text: "a", probability: expect.closeTo(0.5, 6) });
});
