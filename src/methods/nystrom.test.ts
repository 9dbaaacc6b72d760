import { describe, expect, test } from "vitest";
import { identity, scope, Tensor } from "../tensor/index.ts";
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

  test("in a metric of the outputs: the same refit, and the metric's loss", () => {
    scope(() => {
      const { h, down, gram } = problem(10, 70);
      const metric = random(10, 10, 9).scale(3); // any L will do
      const made = nystrom({ down, gram, metric });
      const plain = reduction({ down, gram }, made.order);
      for (const width of [10, 35]) {
        const predicted = made.losses.slice(width).reduce((a, b) => a + b, 0);
        const kept = made.order.slice(0, width);
        const measured = measuredLoss(h, metric.T.matmul(down), kept, metric.T.matmul(made.down(width)));
        expect(Math.abs(predicted - measured) / measured).toBeLessThan(1e-3);
        // Damped by 1e-6 of the mean diagonal in one, and not in the other.
        expect(made.down(width).sub(plain.down(width)).sumOfSquares() / down.sumOfSquares()).toBeLessThan(1e-4);
      }
    });
  });

  test("a metric that feels one output alone keeps the channels that this one reads", () => {
    scope(() => {
      const [m, f] = [4, 40];
      const first = (i: number, j: number) => (i === 0 ? j < 10 : j >= 10); // channels 0 to 9 go to output 0 alone
      const down = random(m, f, 5).mul(
        Tensor.from(
          Float64Array.from({ length: m * f }, (_, at) => Number(first(Math.floor(at / f), at % f))),
          [m, f],
        ),
      );
      const felt = Float64Array.from({ length: m * m }, (_, at) => (at === 0 ? 10 : at % (m + 1) === 0 ? 0.01 : 0));
      const made = nystrom({ down, gram: identity(f), metric: Tensor.from(felt, [m, m]) });
      expect([...made.order.slice(0, 10)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
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
      const byEnergy = reduction({ down, gram }, order);
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
