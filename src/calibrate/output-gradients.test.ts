import { expect, test } from "vitest";
import { PEQUOD } from "../../test/pequod.ts";
import { disposeBatches, forwardWindows, logitsOf, readHead } from "../models/forward.ts";
import { loadModel } from "../models/load.ts";
import { inMemory } from "../models/streams.ts";
import { negativeLogLikelihood, scope, symmetric, Tensor } from "../tensor/index.ts";
import { sumOutputGradients } from "./output-gradients.ts";

test("the last block's output feels what differences of the likelihood say, and every projection feels something", async () => {
  const model = await loadModel(PEQUOD);
  const windows = [0, 1].map((seed) => Uint32Array.from({ length: 24 }, (_, i) => (i * 37 + seed * 101) % 4000));
  const last = model.config.blocks - 1;
  const direction = Float32Array.from({ length: 1024 }, (_, i) => Math.sin(i)); // wider than any output
  const felt = new Map<string, number>();
  sumOutputGradients(model, {
    windows,
    holder: inMemory,
    between() {},
    visit(block, triangles) {
      for (const [name, triangle] of triangles) {
        const size = Math.round((Math.sqrt(8 * triangle.size + 1) - 1) / 2);
        const v = Tensor.from(Float64Array.from(direction.slice(0, size)), [size, 1]);
        const gram = symmetric(triangle, size);
        felt.set(
          `${block} ${name}`,
          scope(() => gram.matmul(v).mul(v).columnSums().toFloat64Array()[0] as number),
        ); // v^T G v
      }
    },
  });
  expect(felt.size).toBe(7 * model.config.blocks);
  for (const value of felt.values()) expect(value).toBeGreaterThan(0);

  // Behind the last block every row is on its own: one difference gives the derivative of each.
  const batches = forwardWindows(model, windows);
  const squares = batches.flatMap(({ stream }) =>
    scope(() => {
      const step = 1e-2;
      const v = Tensor.from(direction.slice(0, model.config.hiddenSize), [1, model.config.hiddenSize]);
      const targets = windows.flatMap((window) => [...window.subarray(1), 0]);
      const at = (size: number) =>
        negativeLogLikelihood(logitsOf(model, readHead(model), stream.read().add(v.scale(size))), Uint32Array.from(targets));
      const [above, below] = [at(step), at(-step)];
      return [...above].map((value, i) => ((i + 1) % 24 === 0 ? 0 : ((value - (below[i] as number)) / (2 * step)) ** 2));
    }),
  );
  disposeBatches(batches);
  const expected = squares.reduce((a, b) => a + b, 0);
  // f32 log-likelihoods of about 8 are good to 1e-6, their differences over 2e-2 to 1e-4 of derivatives near 1.
  expect((felt.get(`${last} mlp.down_proj`) as number) / expected).toBeCloseTo(1, 2);
});
