import { expect, test } from "vitest";
import { lossByDefinition, problem, randomMatrix } from "../../test/problem.ts";
import { identity, Tensor } from "../tensor/index.ts";
import { calibrationLoss, costs, meanBias } from "./measure.ts";

const given = problem(7, 10, { shift: 1 });
const factors = { left: randomMatrix(7, 3, 5), right: randomMatrix(3, 10, 6) };
const nothing = { left: Tensor.zeros([7, 1], "f64"), right: Tensor.zeros([1, 10], "f64") };

/** Relative; f64 rounding at these sizes times 1e4. */
const close = (actual: number, expected: number) => expect(Math.abs(actual / expected - 1)).toBeLessThan(1e-10);

test("the calibration loss is the squared error over the inputs, for any factors, with a bias or without", () => {
  const { weight, statistics } = given;
  close(calibrationLoss(weight, factors, statistics), lossByDefinition(given, factors));
  const biased = { ...factors, bias: randomMatrix(1, 7, 7).reshape(7) };
  close(calibrationLoss(weight, biased, statistics), lossByDefinition(given, biased));
});

test("the mean bias is the best one", () => {
  const { weight, statistics } = given;
  const bias = meanBias(weight, factors, statistics.mean);
  const best = calibrationLoss(weight, { ...factors, bias }, statistics);
  for (const nudge of [1e-3, -1e-3]) {
    const nudged = bias.add(Tensor.from(new Float64Array(7).fill(nudge), [7]));
    expect(calibrationLoss(weight, { ...factors, bias: nudged }, statistics)).toBeGreaterThan(best);
  }
});

test("retained energy is 1 for W itself, 0 for nothing, and 1 where no input had any energy", () => {
  const { weight, statistics } = given;
  const itself = { left: weight, right: identity(10) };
  expect(costs(weight, nothing, statistics).retainedEnergy).toBeCloseTo(0, 10);
  expect(costs(weight, itself, statistics).retainedEnergy).toBe(1);
  expect(costs(weight, nothing, { ...statistics, gram: Tensor.zeros([10, 10], "f64") }).retainedEnergy).toBe(1);
});

test("relative error is 1 for nothing, and 0 for a weight of zeros", () => {
  expect(costs(given.weight, nothing, undefined).relativeError).toBe(1);
  expect(costs(Tensor.zeros([7, 10], "f64"), nothing, undefined).relativeError).toBe(0);
});
