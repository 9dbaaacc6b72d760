import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { problem, randomMatrix } from "../../test/problem.ts";
import { type RopeTable, rope, scope, Tensor } from "../tensor/index.ts";
import { cr } from "./cr.ts";

/** Angles of `count` positions for p pairs; none turns when `turn` is 0. */
function table(count: number, p: number, turn = 1): RopeTable {
  const of = (f: (angle: number) => number) =>
    Tensor.from(
      Float32Array.from({ length: count * p }, (_, i) => f(turn * Math.floor(i / p) * 3 ** -(i % p))),
      [count, p],
    );
  return { cos: of(Math.cos), sin: of(Math.sin) };
}

function attention({ heads = 2, e = 8, n = 11, tokens = 20, seed = 1 }) {
  const { X, statistics } = problem(1, n, { tokens, seed });
  const queries = Array.from({ length: heads }, (_, h) => randomMatrix(e, n, seed + 10 + h));
  return { X, queries, key: randomMatrix(e, n, seed + 50), gram: statistics.gram };
}

/** Columns of the pairs among the e values of a head. */
const columnsOf = (pairs: ArrayLike<number>, e: number) => [...Array.from(pairs), ...Array.from(pairs, (i) => i + e / 2)];

/** sum over h ||Q_h K^T - Q_h' K'^T||_F^2 with the pairs kept, tokens as rows. */
function scoreLoss(Q: readonly Tensor[], K: Tensor, pairs: ArrayLike<number>): number {
  const kept = columnsOf(pairs, K.columns);
  return Q.reduce((sum, q) => {
    const less = q.selectColumns(kept).matmul(K.selectColumns(kept).T);
    return sum + q.matmul(K.T).sub(less).sumOfSquares();
  }, 0);
}

describe("cr", () => {
  test.each([1, 3])("without rotation the predicted loss is that of the scores, %i query heads a key head", (heads) => {
    scope(() => {
      const { X, queries, key, gram } = attention({ heads });
      const { order, losses } = cr({ queries, key, gram, positions: table(3, 4, 0) });
      const rows = (W: Tensor) => W.matmul(X).T; // N x e
      for (const k of [0, 1, 2, 3]) {
        const measured = scoreLoss(queries.map(rows), rows(key), order.slice(0, k));
        expect(Math.abs((losses[k] as number) / measured - 1)).toBeLessThan(1e-11);
      }
    });
  });

  test("with rotation it is the mean over positions, for tokens that are alike at all of them", () => {
    scope(() => {
      const [count, e] = [7, 6];
      const { X, queries, key, gram } = attention({ e, tokens: 9 });
      const positions = table(count, e / 2);
      const { order, losses } = cr({ queries, key, gram, positions });
      // Every token at every position, N positions x e.
      const everywhere = Uint32Array.from({ length: 9 * count }, (_, i) => Math.floor(i / count));
      const turned = (W: Tensor) => rope(W.matmul(X).T.selectRows(everywhere).to("f32"), positions).to("f64");
      for (const k of [0, 1, 2]) {
        const measured = scoreLoss(queries.map(turned), turned(key), order.slice(0, k)) / count ** 2;
        // The rotated values are f32.
        expect(Math.abs((losses[k] as number) / measured - 1)).toBeLessThan(1e-5);
      }
    });
  });

  test("any shape, any number of tokens: an order of all pairs, a loss that ends at nothing", () => {
    const shapes = fc.record({
      heads: fc.integer({ min: 1, max: 4 }),
      e: fc.integer({ min: 1, max: 7 }).map((p) => 2 * p),
      n: fc.integer({ min: 1, max: 9 }),
      tokens: fc.integer({ min: 1, max: 12 }),
      seed: fc.integer({ min: 1, max: 99 }),
    });
    fc.assert(
      fc.property(shapes, (shape) => {
        scope(() => {
          const { queries, key, gram } = attention(shape);
          for (const by of ["elimination", "scores"] as const) {
            const { order, losses } = cr({ queries, key, gram, positions: table(5, shape.e / 2) }, by);
            expect([...order].sort((a, b) => a - b)).toEqual([...Array(shape.e / 2).keys()]);
            expect(losses.at(-1)).toBe(0);
            expect(losses.every((loss) => Number.isFinite(loss) && loss >= 0)).toBe(true);
          }
        });
      }),
      { numRuns: 30 },
    );
  });

  test("elimination sees that two pairs cancel, which scores cannot", () => {
    scope(() => {
      // One value a token: pair i adds its own multiple to every score, and those of pairs 0 and 2 all but cancel.
      const x = randomMatrix(1, 30, 3);
      const queries = [Tensor.from(Float64Array.of(1, 1, 1, 1, 0, 0, 0, 0), [8, 1])];
      const key = Tensor.from(Float64Array.of(2, 2.1, -2.2, 10, 0, 0, 0, 0), [8, 1]);
      const given = { queries, key, gram: x.matmul(x.T), positions: table(1, 4, 0) };
      const kept = (by: "elimination" | "scores") => [...cr(given, by).order.slice(0, 2)].sort();
      expect(kept("elimination")).toEqual([1, 3]);
      expect(kept("scores")).toEqual([2, 3]);
    });
  });
});
