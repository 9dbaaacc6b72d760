/**
 * What every method promises, and what they promise of one another.
 *
 * Tolerances. Products and eigenvectors in f64 are good to about n eps = 2e-14 for the sizes here, relative to the largest
 * number involved. TIGHT leaves a factor 1e4 for that. Where S is inverted or a spectrum squared the error grows with the
 * condition number of S or W, below 1e4 here: CLOSE is the 1e-6 that methods.md asks of methods that must agree.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { distance, lossByDefinition, type Problem, problem, randomMatrix, statisticsOf } from "../../test/problem.ts";
import { cholesky, dispose, eigh, identity, row, scaleColumns, scope, solveLower, svd, Tensor } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import { expand, parameters, product } from "./factors.ts";
import { interpolative } from "./interpolative.ts";
import { calibrationLoss, costs, meanBias } from "./measure.ts";
import { type Decomposition, type Factors, METHOD_DEFAULTS, type Method, type MethodOptions } from "./method.ts";
import { METHODS, methodNamed } from "./registry.ts";
import { leading } from "./terms.ts";

const TIGHT = 1e-10;
const CLOSE = 1e-6;

const SHAPES = [
  [12, 12],
  [7, 19],
  [23, 11],
  [1, 9],
  [9, 1],
  [1, 1],
] as const;

/** Wide, square and tall. */
const PLAIN_SHAPES = SHAPES.slice(0, 3);

const FACTORED = METHODS.filter((method) => !method.parts);
const NESTED = METHODS.filter((method) => method.nesting !== undefined);
/** ASVD-II and its kin use a pseudo-inverse: of a singular Gram matrix they return the seen part alone. */
const PSEUDO_INVERSE = new Set(["asvd-ii", "nsvd-ii", "nid-ii"]);

/** Methods that compare both models are told that the dense one sees the same inputs; anchored.test.ts has others. */
function decompose(name: string, given: Problem, options: Partial<MethodOptions> = {}): Decomposition {
  const method = methodNamed(name);
  const { gram } = given.statistics;
  const dense = method.needs.includes("dense") ? { gram, cross: gram } : undefined;
  return method.decompose({ ...given, statistics: { ...given.statistics, dense } }, { ...METHOD_DEFAULTS, ...options });
}

function approximation(name: string, given: Problem, rank: number, options: Partial<MethodOptions> = {}): Tensor {
  return scope(() => product(decompose(name, given, options).factors(rank)));
}

const relativeError = (W: Tensor, factors: Factors) => costs(W, factors, undefined).relativeError;

/** The calibration loss that the method reaches. */
function loss(name: string, given: Problem, rank: number, options: Partial<MethodOptions> = {}): number {
  return scope(() => lossByDefinition(given, decompose(name, given, options).factors(rank)));
}

const from = (losses: Float64Array, rank: number) => losses.slice(rank).reduce((a, b) => a + b, 0);
const energy = ({ weight, X }: Problem) => scope(() => weight.matmul(X).sumOfSquares());
const ranksOf = ({ weight }: Problem) => Array.from({ length: Math.min(weight.rows, weight.columns) }, (_, i) => i + 1);
const full = (given: Problem) => Math.min(given.weight.rows, given.weight.columns);

describe.each(FACTORED.map((method) => [method.name, method] as const))("%s", (name, method: Method) => {
  test.each(SHAPES)("rank min(m, n) returns W, %i x %i", (m, n) => {
    const given = problem(m, n);
    expect(distance(approximation(name, given, full(given)), given.weight)).toBeLessThan(CLOSE);
  });

  test("rank min(m, n) returns W though fewer tokens than inputs were seen", () => {
    for (const [m, n] of PLAIN_SHAPES) {
      const given = problem(m, n, { tokens: 4 });
      const seen = scope(() => approximation(name, given, full(given)).sub(given.weight).matmul(given.X).sumOfSquares());
      expect(Math.sqrt(seen / energy(given))).toBeLessThan(CLOSE);
      if (!PSEUDO_INVERSE.has(name)) expect(distance(approximation(name, given, full(given)), given.weight)).toBeLessThan(CLOSE);
    }
  });

  test("factors of rank k have inner dimension k, and values that are counted", () => {
    for (const [m, n] of PLAIN_SHAPES) {
      const given = problem(m, n);
      for (const k of ranksOf(given)) {
        const factors = decompose(name, given).factors(k);
        const { left, right } = expand(factors);
        expect([left.shape, right.shape]).toEqual([[m, k], [k, n]]); // biome-ignore format: one line
        const s = factors.skeleton?.columns.length ?? 0;
        expect(parameters(factors)).toBe(k * (m + n) - s * s + (factors.bias?.size ?? 0));
      }
    }
  });

  test("predicts the loss that is measured, where nothing is nested", () => {
    for (const [m, n] of PLAIN_SHAPES) {
      const given = problem(m, n);
      const { losses, outputSpectrum, factors } = decompose(name, given, { nesting: 1 });
      for (const k of ranksOf(given)) {
        const measured = lossByDefinition(given, factors(k));
        if (outputSpectrum) expect(Math.abs(from(outputSpectrum, 0) / energy(given) - 1)).toBeLessThan(TIGHT);
        const lowest = outputSpectrum && from(outputSpectrum, k);
        if (lowest !== undefined) expect(measured).toBeGreaterThan(lowest - TIGHT * energy(given));
        if (lowest !== undefined && losses) expect(Math.abs(measured - from(losses, k))).toBeLessThan(CLOSE * energy(given));
      }
    }
  });

  test("the scales of weights and inputs change nothing but the scale", () => {
    const reference = problem(8, 6);
    for (const [weightScale, inputScale] of [
      [1e-30, 1],
      [1e30, 1],
      [1, 1e-30],
      [1, 1e30],
    ] as const) {
      const given = problem(8, 6, { weightScale, inputScale });
      const back = approximation(name, given, 3).scale(1 / weightScale);
      expect(distance(back, approximation(name, reference, 3))).toBeLessThan(CLOSE);
    }
  });

  test("weights of zeros and inputs of zeros stay finite", () => {
    const zeros = { ...problem(6, 5), weight: Tensor.zeros([6, 5], "f64") };
    expect(approximation(name, zeros, 3).sumOfSquares()).toBe(0);
    const silent = { ...problem(6, 5), statistics: statisticsOf(Tensor.zeros([4, 5], "f64")) };
    expect(approximation(name, silent, 3).isFinite()).toBe(true);
  });

  test("any shape, any number of tokens: every rank has a finite loss, and the full one next to none", () => {
    const shapes = fc.record({
      m: fc.integer({ min: 1, max: 17 }),
      n: fc.integer({ min: 1, max: 17 }),
      tokens: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(shapes, fc.nat(1000), ({ m, n, tokens }, seed) =>
        scope(() => {
          const given = problem(m, n, { tokens, seed });
          const { factors } = decompose(name, given);
          const errors = ranksOf(given).map((k) => calibrationLoss(given.weight, factors(k), given.statistics));
          expect(errors.every(Number.isFinite)).toBe(true);
          expect(errors.at(-1)).toBeLessThan(CLOSE * Math.max(energy(given), 1));
        }),
      ),
      { numRuns: 30, seed: 7 },
    );
  });

  test("a rank outside 1 ... min(m, n) is refused", () => {
    const { factors } = decompose(name, problem(5, 4));
    for (const rank of [0, 5, 2.5, Number.NaN]) expect(() => factors(rank)).toThrow(/rank: expected 1 to 4/);
  });

  test("reads only the statistics that it needs", () => {
    const given = problem(5, 4);
    const { gram, tokens, mean, meanAbs, maxAbs, batchMeans } = given.statistics;
    const nothing = new Float64Array();
    const statistics = {
      tokens,
      gram: method.needs.includes("gram") ? gram : Tensor.zeros([0, 0], "f64"),
      ...(method.needs.includes("moments")
        ? { mean, meanAbs, maxAbs, batchMeans }
        : { mean: nothing, meanAbs: nothing, maxAbs: nothing }),
    };
    expect(distance(approximation(name, { ...given, statistics }, 2), approximation(name, given, 2))).toBe(0);
  });

  test("a decomposition outlives the scope that made it, and can be freed", () => {
    const given = problem(9, 7);
    const made = scope(() => decompose(name, given));
    expect(made.factors(3).left.isFinite()).toBe(true);
    dispose(made);
    expect(given.weight.isFinite()).toBe(true);
  });
});

/** W' as its authors compute it: S by Cholesky, the SVD of W S, and S undone. */
function svdLlmAsPublished({ weight: W, statistics: { gram: H } }: Problem, k: number): Tensor {
  const S = cholesky(H) as Tensor;
  const { U, values, Vt } = svd(W.matmul(S));
  const left = scaleColumns(U, values).columnRange(0, k); // m x k
  return left.matmul(solveLower(S, Vt.rowRange(0, k).T, true).T);
}

describe("methods that must agree", () => {
  test.each(PLAIN_SHAPES)("svd-llm gives what Cholesky whitening gives, %i x %i", (m, n) => {
    const given = problem(m, n);
    for (const k of ranksOf(given))
      expect(distance(approximation("svd-llm", given, k), svdLlmAsPublished(given, k))).toBeLessThan(CLOSE);
  });

  test.each(PLAIN_SHAPES)("rom, svd-llm, asvd-ii, and asvd-iii at gamma 1/2 give the same W', %i x %i", (m, n) => {
    const given = problem(m, n);
    for (const k of ranksOf(given)) {
      const expected = approximation("rom", given, k);
      expect(distance(approximation("svd-llm", given, k), expected)).toBeLessThan(CLOSE);
      expect(distance(approximation("asvd-ii", given, k), expected)).toBeLessThan(CLOSE);
      expect(distance(approximation("asvd-iii", given, k, { gamma: 0.5 }), expected)).toBeLessThan(CLOSE);
    }
  });

  test.each(PLAIN_SHAPES)("their W' is U U^T W and their losses the eigenvalues, of the output Gram matrix, %i x %i", (m, n) => {
    const given = problem(m, n);
    const { weight: W, statistics } = given;
    const { values, vectors } = eigh(W.matmul(statistics.gram).matmul(W.T)); // m, m x m
    for (const name of ["rom", "svd-llm", "asvd-ii"]) {
      const { losses, factors } = decompose(name, given);
      for (const k of ranksOf(given)) {
        const U = vectors.columnRange(0, k); // m x k
        expect(distance(product(factors(k)), U.matmul(U.T).matmul(W))).toBeLessThan(CLOSE);
        expect(Math.abs((losses?.[k - 1] ?? Number.NaN) - (values[k - 1] as number))).toBeLessThan(CLOSE * energy(given));
      }
    }
  });

  test.each(PLAIN_SHAPES)("they lose the same though fewer tokens than inputs were seen, %i x %i", (m, n) => {
    const given = problem(m, n, { tokens: 5 });
    for (const k of [1, 3, 5]) {
      const best = loss("rom", given, k);
      for (const name of ["svd-llm", "asvd-ii"])
        expect(Math.abs(loss(name, given, k) - best)).toBeLessThan(CLOSE * energy(given));
    }
  });

  test.each(PLAIN_SHAPES)("nesting 1 is the first step alone, nesting 0 the second, %i x %i", (m, n) => {
    const given = problem(m, n);
    for (const { name } of NESTED) {
      expect(distance(approximation(name, given, 4, { nesting: 1 }), approximation("svd-llm", given, 4))).toBeLessThan(CLOSE);
    }
    for (const { name } of FACTORED) {
      const second = name.startsWith("nid") ? interpolative(given.weight, 4) : decompose("svd", given).factors(4);
      expect(distance(approximation(name, given, 4, { nesting: 0 }), product(second))).toBeLessThan(TIGHT);
    }
  });

  test.each(PLAIN_SHAPES)("nsvd is its first step with nesting .95, which is 1 where nobody asks for it, %i x %i", (m, n) => {
    const given = problem(m, n);
    for (const [nested, first] of [
      ["nsvd-i", "svd-llm"],
      ["nsvd-ii", "asvd-ii"],
    ] as const) {
      for (const k of [4, full(given)])
        expect(distance(approximation(first, given, k, { nesting: 0.95 }), approximation(nested, given, k))).toBe(0);
      expect(distance(approximation(nested, given, 4, { nesting: 1 }), approximation(first, given, 4))).toBe(0);
    }
  });

  test.each(PLAIN_SHAPES)("ridge is svd-llm as mu falls to 0, and svd as it grows, %i x %i", (m, n) => {
    const given = problem(m, n);
    expect(distance(approximation("ridge", given, 4, { mu: 0 }), approximation("svd-llm", given, 4))).toBeLessThan(CLOSE);
    expect(distance(approximation("ridge", given, 4, { mu: 1e-9 }), approximation("svd-llm", given, 4))).toBeLessThan(CLOSE);
    expect(distance(approximation("ridge", given, 4, { mu: 1e9 }), approximation("svd", given, 4))).toBeLessThan(CLOSE);
  });

  test("ridge predicts its own loss: that of the inputs, and mu times their mean size for each input unseen", () => {
    const given = problem(9, 12);
    const { losses, factors } = decompose("ridge", given, { mu: 0.3 });
    const perInput = given.X.sumOfSquares() / 12; // tr(H) / n
    for (const k of ranksOf(given)) {
      const unseen = given.weight.sub(product(factors(k))).sumOfSquares();
      const expected = lossByDefinition(given, factors(k)) + 0.3 * perInput * unseen;
      expect(Math.abs(from(losses as Float64Array, k) - expected)).toBeLessThan(TIGHT * energy(given));
    }
  });

  test.each(PLAIN_SHAPES)("alpha 0 and gamma 0 are the plain svd, %i x %i", (m, n) => {
    const given = problem(m, n);
    expect(distance(approximation("asvd", given, 4, { alpha: 0 }), approximation("svd", given, 4))).toBeLessThan(CLOSE);
    expect(distance(approximation("asvd-iii", given, 4, { gamma: 0 }), approximation("svd", given, 4))).toBeLessThan(CLOSE);
  });

  test("two steps in one metric are one step", () => {
    const { weight: W, statistics } = problem(11, 14);
    const H = statistics.gram;
    const first = product(leading(activationAware(W, H), 5));
    const second = product(leading(activationAware(W.sub(first), H), 3));
    expect(distance(first.add(second), product(leading(activationAware(W, H), 8)))).toBeLessThan(CLOSE);
  });
});

describe("who is better at what", () => {
  const given = problem(16, 20, { shift: 1.5 });
  const k = 8;

  test("no method of equal rank beats the activation-aware optimum on the calibration inputs, nor svd on W itself", () => {
    for (const { name } of FACTORED) {
      expect(loss(name, given, k)).toBeGreaterThan(loss("svd-llm", given, k) - CLOSE * energy(given));
      const nearest = relativeError(given.weight, decompose("svd", given).factors(k));
      expect(relativeError(given.weight, decompose(name, given).factors(k))).toBeGreaterThan(nearest - TIGHT);
    }
  });

  test("nesting trades the calibration loss for the distance to W, svd over columns of the residual", () => {
    const error = (name: string, nesting: number) => relativeError(given.weight, decompose(name, given, { nesting }).factors(k));
    expect(loss("nsvd-i", given, k, { nesting: 0.75 })).toBeGreaterThan(loss("svd-llm", given, k));
    expect(error("nsvd-i", 0.75)).toBeLessThan(error("svd-llm", 1));
    expect(error("nsvd-i", 0.75)).toBeLessThan(error("nid-i", 0.75));
  });

  test("nesting brings every method that sees the inputs nearer to W, at a loss in its own metric", () => {
    for (const { name } of FACTORED.filter(({ needs, nesting }) => needs.length > 0 && nesting === undefined)) {
      const at = (nesting: number) => relativeError(given.weight, decompose(name, given, { nesting }).factors(k));
      expect(at(0.75)).toBeLessThan(at(1));
    }
    expect(loss("rom", given, k, { nesting: 0.75 })).toBeGreaterThan(loss("rom", given, k));
  });

  test("asvd sees its scale", () => {
    const mean = approximation("asvd", given, k);
    expect(distance(mean, approximation("svd", given, k))).toBeGreaterThan(0.01);
    expect(distance(mean, approximation("asvd", given, k, { scale: "abs-max" }))).toBeGreaterThan(1e-3);
    expect(loss("asvd", given, k)).toBeLessThan(loss("svd", given, k));
  });
});

describe("rom's centring", () => {
  const given = problem(13, 17, { shift: 1.5 });

  test("with the bias it never loses more than without centring, at any rank", () => {
    for (const k of ranksOf(given)) {
      expect(loss("rom", given, k, { center: "mean" })).toBeLessThan(loss("rom", given, k) * (1 + TIGHT) + TIGHT * energy(given));
    }
  });

  test("with the bias it is the best affine map: no other method loses less with the bias that suits it", () => {
    const { weight: W, statistics } = given;
    for (const { name } of FACTORED) {
      for (const k of ranksOf(given)) {
        const factors = expand(decompose(name, given).factors(k));
        const affine = { ...factors, bias: meanBias(W, factors, statistics.mean) };
        const best = loss("rom", given, k, { center: "mean" });
        expect(lossByDefinition(given, affine)).toBeGreaterThan(best - CLOSE * energy(given));
      }
    }
  });

  test("without the bias, as published, it loses more than either where means are large", () => {
    expect(loss("rom", given, 5, { center: "paper" })).toBeGreaterThan(1.01 * loss("rom", given, 5));
    expect(loss("rom", given, 5)).toBeGreaterThan(1.01 * loss("rom", given, 5, { center: "mean" }));
  });

  test("pooled over one batch it is the covariance, and over several it lies behind the best affine map, little with alike batches", () => {
    const whole = given.statistics.mean.map((value) => value * Math.sqrt(given.statistics.tokens));
    const one = { ...given, statistics: { ...given.statistics, batchMeans: row(whole) } };
    for (const k of [1, 5, 9]) {
      const best = loss("rom", given, k, { center: "mean" });
      expect(Math.abs(loss("rom", one, k, { center: "pooled" }) - best)).toBeLessThan(TIGHT * energy(given));
      const pooled = loss("rom", given, k, { center: "pooled" });
      expect(pooled).toBeGreaterThan(best - TIGHT * energy(given));
      expect(pooled).toBeLessThan(1.1 * best);
    }
  });

  test("pooled says what it lacks where no batches were summed", () => {
    const { batchMeans: _, ...statistics } = given.statistics;
    expect(() => decompose("rom", { ...given, statistics }, { center: "pooled" })).toThrow(/calibrate again/);
  });

  test.each(["none", "mean", "paper", "pooled"] as const)("%s predicts the loss that is measured", (center) => {
    const { losses, factors } = decompose("rom", given, { center });
    for (const k of ranksOf(given)) {
      expect(Math.abs(from(losses as Float64Array, k) - lossByDefinition(given, factors(k)))).toBeLessThan(TIGHT * energy(given));
    }
  });

  test("the bias suits nested factors too: the mean output is right, and without it they lose more", () => {
    const { weight: W, statistics } = given;
    for (const nesting of [0, 0.5, 0.9]) {
      const { bias, ...linear } = decompose("rom", given, { center: "mean", nesting }).factors(6);
      expect(distance(bias as Tensor, meanBias(W, linear, statistics.mean))).toBe(0);
      expect(lossByDefinition(given, { ...linear, bias: bias as Tensor })).toBeLessThan(lossByDefinition(given, linear));
    }
  });

  test("the bias vanishes at full rank", () => {
    const { bias } = decompose("rom", given, { center: "mean" }).factors(full(given));
    expect(bias?.shape).toEqual([13]);
    expect(bias?.sumOfSquares()).toBeLessThan(TIGHT);
  });
});

describe("awkward weights", () => {
  test("a tall weight of low rank, or ill conditioned, is returned at full rank and fitted at its own", () => {
    for (const weight of [
      randomMatrix(15, 2, 3).matmul(randomMatrix(2, 9, 4)),
      randomMatrix(15, 9, 5, (value, column) => value * 10 ** -column),
    ]) {
      const given = { ...problem(15, 9), weight };
      const terms = activationAware(weight, given.statistics.gram);
      expect(distance(product(leading(terms, 9)), weight)).toBeLessThan(TIGHT);
      const orthonormal = terms.left.T.matmul(terms.left);
      expect(distance(orthonormal, identity(9))).toBeLessThan(1e-7); // eps times the square of the largest condition trusted
    }
    const given = { ...problem(15, 9), weight: randomMatrix(15, 2, 3).matmul(randomMatrix(2, 9, 4)) };
    for (const name of ["svd", "svd-llm", "rom", "asvd-ii", "nid-i"]) {
      expect(distance(approximation(name, given, 2), given.weight)).toBeLessThan(name === "nid-i" ? 1 : CLOSE);
    }
  });

  test("one input ten thousand times the others, as in real models, leaves predicted and measured loss equal", () => {
    const spike = (value: number, column: number) => value * (column === 3 ? 1e4 : 1);
    const inputs = randomMatrix(60, 12, 8, spike);
    for (const m of [8, 20]) {
      const given = { weight: randomMatrix(m, 12, 9), statistics: statisticsOf(inputs), X: inputs.T };
      const { losses, factors } = decompose("rom", given);
      for (const k of [2, 5, 7]) {
        const measured = lossByDefinition(given, factors(k));
        expect(Math.abs(from(losses as Float64Array, k) / measured - 1)).toBeLessThan(CLOSE);
        expect(loss("svd-llm", given, k) / measured).toBeCloseTo(1, 6);
      }
    }
  });
});
