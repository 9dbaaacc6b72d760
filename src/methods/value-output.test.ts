import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { distance, problem, randomMatrix } from "../../test/problem.ts";
import { scope, svd, type Tensor, vcat } from "../tensor/index.ts";
import { valueOutput } from "./value-output.ts";
import { eigenWhitening } from "./whitening.ts";

function head({ heads = 2, e = 6, n = 13, d = 9, tokens = 40, seed = 1 }) {
  const { X, statistics } = problem(1, n, { tokens, seed });
  const outputs = Array.from({ length: heads }, (_, h) => randomMatrix(d, e, seed + 20 + h));
  return { X, value: randomMatrix(e, n, seed + 5), outputs, gram: statistics.gram };
}

type Pair = { value: Tensor; outputs: readonly Tensor[] };

/** sum over h ||(O_h V - O_h' V') X||_F^2. */
function measuredLoss({ X, value, outputs }: Pair & { X: Tensor }, less: Pair): number {
  return outputs.reduce((sum, O, h) => {
    const product = (less.outputs[h] as Tensor).matmul(less.value);
    return sum + O.matmul(value).sub(product).matmul(X).sumOfSquares();
  }, 0);
}

describe("valueOutput", () => {
  test.each([1, 3])("the predicted loss is the measured one, and no pair of that width has less, %i query heads", (heads) => {
    scope(() => {
      const given = head({ heads });
      const made = valueOutput(given);
      const { values } = svd(eigenWhitening(given.gram).apply(vcat(...given.outputs).matmul(given.value)));
      for (const width of [1, 3, 5]) {
        const measured = measuredLoss(given, made.at(width));
        expect(Math.abs((made.losses[width] as number) / measured - 1)).toBeLessThan(1e-9);
        const least = values.slice(width).reduce((sum, sigma) => sum + sigma ** 2, 0);
        expect(measured / least).toBeLessThan(1 + 1e-9);
      }
    });
  });

  test("any shape, any number of tokens: the whole width gives the product back", () => {
    const shapes = fc.record({
      heads: fc.integer({ min: 1, max: 3 }),
      e: fc.integer({ min: 1, max: 7 }),
      n: fc.integer({ min: 1, max: 9 }),
      d: fc.integer({ min: 1, max: 9 }),
      tokens: fc.integer({ min: 1, max: 12 }),
      seed: fc.integer({ min: 1, max: 99 }),
    });
    fc.assert(
      fc.property(shapes, (shape) => {
        scope(() => {
          const { value, outputs, gram } = head(shape);
          const made = valueOutput({ value, outputs, gram });
          const all = made.at(shape.e);
          for (const [h, O] of outputs.entries()) {
            // S^T V and its inverse square the condition of O: half of f64's digits.
            expect(distance((all.outputs[h] as Tensor).matmul(all.value), O.matmul(value))).toBeLessThan(1e-6);
          }
          expect(made.losses[shape.e]).toBe(0);
        });
      }),
      { numRuns: 30 },
    );
  });

  test("a value that no output reads costs nothing", () => {
    scope(() => {
      const { X, value, outputs, gram } = head({});
      const unread = outputs.map((O) => O.mul(randomMatrix(1, 6, 1, (_, j) => (j === 4 ? 0 : 1))));
      const made = valueOutput({ value, outputs: unread, gram });
      expect(measuredLoss({ X, value, outputs: unread }, made.at(5)) / (made.losses[0] as number)).toBeLessThan(1e-12);
    });
  });
});
