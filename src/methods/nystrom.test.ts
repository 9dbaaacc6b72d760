import { describe, expect, test } from "vitest";
import { scope, Tensor } from "../tensor/index.ts";
import { nystrom, reduction } from "./nystrom.ts";

/** Deterministic numbers in [-1, 1). */
function random(rows: number, columns: number, seed: number): Tensor {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return Tensor.from(Float64Array.from({ length: rows * columns }, next), [rows, columns]);
}

/** An MLP of f channels that move together: h is a mixture of r sources and noise. */
function problem(m: number, f: number, seed = 1) {
  const mixed = random(400, 12, seed)
    .matmul(random(12, f, seed + 1))
    .add(random(400, f, seed + 2).scale(0.1)); // tokens x f
  return { h: mixed, down: random(m, f, seed + 3), gram: mixed.T.matmul(mixed) };
}

/** ||D h - D' h_S||^2 over the tokens. */
function measuredLoss(h: Tensor, D: Tensor, kept: ArrayLike<number>, Dk: Tensor): number {
  return h.matmul(D.T).sub(h.selectColumns(kept).matmul(Dk.T)).sumOfSquares();
}

describe("nystrom", () => {
  test("the predicted loss is the measured one, at every width", () => {
    scope(() => {
      const { h, down, gram } = problem(10, 70);
      const made = nystrom({ down, gram });
      for (const width of [1, 10, 35, 69]) {
        const predicted = made.losses.slice(width).reduce((a, b) => a + b, 0);
        const measured = measuredLoss(h, down, made.order.slice(0, width), made.down(width));
        // The damping of 1e-6 of the mean diagonal is in the prediction, and not in the measurement.
        expect(Math.abs(predicted - measured) / measured).toBeLessThan(1e-3);
      }
    });
  });

  test("all channels give the projection back", () => {
    scope(() => {
      const { down, gram } = problem(6, 50);
      const made = nystrom({ down, gram });
      expect(made.down(50).sub(down.selectColumns(made.order)).sumOfSquares() / down.sumOfSquares()).toBeLessThan(1e-12);
    });
  });

  test("loses no more than keeping the channels of most energy", () => {
    scope(() => {
      const { down, gram } = problem(8, 96);
      const made = nystrom({ down, gram });
      const energy = Array.from(
        { length: 96 },
        (_, i) =>
          gram
            .rowRange(i, i + 1)
            .columnRange(i, i + 1)
            .toFloat64Array()[0] as number,
      );
      const order = Uint32Array.from(energy.keys()).sort((a, b) => (energy[b] as number) - (energy[a] as number));
      const byEnergy = reduction(down, gram, order);
      const loss = (losses: Float64Array, width: number) => losses.slice(width).reduce((a, b) => a + b, 0);
      for (const width of [24, 48, 72]) expect(loss(made.losses, width)).toBeLessThan(loss(byEnergy.losses, width));
    });
  });

  test("channels that are silent in the calibration text are the first to go", () => {
    scope(() => {
      const { h, down } = problem(5, 40);
      const silent = h.mul(
        Tensor.from(
          Float64Array.from({ length: 40 }, (_, j) => (j < 8 ? 0 : 1)),
          [1, 40],
        ),
      );
      const made = nystrom({ down, gram: silent.T.matmul(silent) });
      expect([...made.order.slice(32)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    });
  });

  test("fewer tokens than channels do not fail", () => {
    scope(() => {
      const { h, down } = problem(5, 40);
      const few = h.rowRange(0, 9).contiguous();
      const made = nystrom({ down, gram: few.T.matmul(few) });
      const loss = measuredLoss(few, down, made.order.slice(0, 20), made.down(20));
      expect(loss / few.matmul(down.T).sumOfSquares()).toBeLessThan(1e-4);
    });
  });
});
