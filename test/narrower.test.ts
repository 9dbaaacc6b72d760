/** Parts of a block made narrower: at their whole width the dense block again, at less what was predicted. */
import { describe, expect, test } from "vitest";
import { SiteSums } from "../src/calibrate/statistics.ts";
import { type InputStatistics, METHOD_DEFAULTS } from "../src/methods/method.ts";
import { modegpt } from "../src/methods/modegpt.ts";
import { advanceBatches, type Batch, disposeBatches, embedWindows } from "../src/models/forward.ts";
import type { LlamaConfig } from "../src/models/llama.ts";
import type { Model } from "../src/models/load.ts";
import { type BlockWeights, type Dense, linear, type Part } from "../src/models/model.ts";
import { readBlock } from "../src/models/weights.ts";
import { narrowing, partShape } from "../src/pipeline/narrower.ts";
import { dispose, keep, scope, type Tensor } from "../src/tensor/index.ts";
import { goldenModel } from "./exported.ts";
import { distance } from "./problem.ts";

const options = METHOD_DEFAULTS;
/** Several query heads a key/value head; all heads their own; biases everywhere; heads of another width; scaled angles. */
const cases = ["gqa-untied", "mha-tied", "biases", "head-dim", "rope-yarn"];
const parts: Part[] = ["queryKey", "value", "channels"];

/** Runs `use` with block 0 of the model, its inputs, and the statistics of its sites on them. */
function withBlock(
  model: Model,
  use: (given: { weights: BlockWeights; sums: SiteSums; inputs: Map<string, Tensor>; run(w: BlockWeights): Tensor }) => void,
) {
  scope(() => {
    const ids = (shift: number) => Uint32Array.from({ length: 24 }, (_, i) => (7 * i + shift) % model.config.vocabulary);
    const windows = [ids(1), ids(5), ids(11)];
    const weights = readBlock(model.checkpoint, model.architecture, model.config, 0);
    const shapes = model.architecture.projections(model.config, 0);
    const sums = new SiteSums(new Map(shapes.map(({ site, columns }) => [site, columns])));
    const inputs = new Map<string, Tensor>();
    const through = (w: BlockWeights, observe?: (site: string, input: Tensor) => void): Tensor => {
      const batches: Batch[] = embedWindows(model, windows);
      advanceBatches(model, batches, w, 0, observe ? { observe } : {});
      const [out] = batches.map(({ stream }) => stream.read().scale(1));
      disposeBatches(batches);
      return out as Tensor;
    };
    through(weights, (site, input) => {
      sums.add(site, input);
      inputs.set(site, keep(input.to("f64")));
    });
    use({ weights, sums, inputs, run: through });
    dispose([inputs]);
    sums.dispose();
  });
}

describe.each(cases)("%s", (name) => {
  const model = goldenModel(name);

  test.each(parts)("%s at its whole width gives the dense block", (part) => {
    withBlock(model, ({ weights, sums, run }) => {
      const { site, width } = partShape(model, part);
      const made = narrowing(part, { model, weights, statistics: sums.statistics(site, "block 0"), options, method: modegpt }).at(
        width,
        "f32",
      );
      const whole = run({
        vectors: weights.vectors,
        linears: new Map([...weights.linears, ...made.layers]),
        ropePairs: made.ropePairs,
      });
      // New weights are f32: a few roundings of some hundred terms. The refitted MLP is damped by 1e-6 as well.
      expect(distance(whole, run(weights))).toBeLessThan(part === "channels" ? 1e-4 : 1e-5);
    });
  });

  test("the loss of narrower value heads is the measured one, biases too", () => {
    withBlock(model, ({ weights, sums, inputs }) => {
      const { heads } = model.config as LlamaConfig;
      const statistics = sums.statistics("attention.in", "block 0");
      const narrowed = narrowing("value", { model, weights, statistics, options, method: modegpt });
      const x = inputs.get("attention.in") as Tensor;
      const width = heads.dim - 1;
      const { layers } = narrowed.at(width, "f32");
      const outputs = (linears: ReadonlyMap<string, unknown>, e: number) => {
        const v = linear(x.to("f32"), linears.get("self_attn.v_proj") as Dense).to("f64"); // t x (g e)
        const O = (linears.get("self_attn.o_proj") as Dense).weight.to("f64"); // d x (h e)
        return Array.from({ length: heads.query }, (_, h) => {
          const group = Math.floor((h * heads.keyValue) / heads.query);
          return v.columnRange(group * e, (group + 1) * e).matmul(O.columnRange(h * e, (h + 1) * e).T);
        });
      };
      const narrow = outputs(layers, width);
      const measured = outputs(weights.linears, heads.dim).reduce(
        (sum, y, h) => sum + y.sub(narrow[h] as Tensor).sumOfSquares(),
        0,
      );
      // Values and weights are f32, and the loss a difference of them: half of their digits.
      expect(Math.abs(measured / (narrowed.losses[width] as number) - 1)).toBeLessThan(1e-3);
    });
  });

  test("losses fall as parts get wider, to nothing", () => {
    withBlock(model, ({ weights, sums }) => {
      const sites = [...new Set(parts.map((part) => partShape(model, part).site))];
      const statistics = new Map(sites.map((site) => [site, sums.statistics(site, "block 0")]));
      for (const part of parts) {
        const { site, width } = partShape(model, part);
        const given = { model, weights, statistics: statistics.get(site) as InputStatistics, options, method: modegpt };
        const { losses } = narrowing(part, given);
        expect(losses.length).toBe(width + 1);
        expect(losses[0]).toBeGreaterThan(0);
        expect(losses[width]).toBe(0);
      }
    });
  });
});
