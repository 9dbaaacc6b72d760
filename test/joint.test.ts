/** `--joint`: stacks that share a right factor store less for a rank, lose what their stack loses, and can be refined. */
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { ConfigError, UsageError } from "../src/errors.ts";
import { loadModel, type Model } from "../src/models/load.ts";
import type { Dense, LowRank } from "../src/models/model.ts";
import { parseModelConfig } from "../src/models/registry.ts";
import { readBlock } from "../src/models/weights.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { joined } from "../src/pipeline/joint.ts";
import { parseOptions, refineOptions } from "../src/pipeline/options.ts";
import { refine } from "../src/pipeline/refine.ts";
import { scope, svd, vcat } from "../src/tensor/index.ts";
import { compress, PEQUOD, TEXT, temporary } from "./pequod.ts";

vi.setConfig({ testTimeout: 60_000 });

const dense = await loadModel(PEQUOD);
const out = join(temporary("joint"), "out");
const made = await compress({ out, method: "svd", joint: true, keep: 0.6, dtype: "f32" });
const model = await loadModel(out);

describe("compress --joint", () => {
  test("stores a shared right factor once, and no more than was asked for", () => {
    expect(model.config.sharedRights.get("model.layers.2.mlp.up_proj")).toBe("model.layers.2.mlp.gate_proj");
    expect(model.config.sharedRights.get("model.layers.2.self_attn.k_proj")).toBe("model.layers.2.self_attn.q_proj");
    const names = [...model.checkpoint.tensors.keys()];
    expect(names).toContain("model.layers.2.mlp.up_proj.left.weight");
    expect(names).not.toContain("model.layers.2.mlp.up_proj.right.weight");
    expect(made.keptProjections).toBeLessThanOrEqual(0.6);
    expect(made.keptProjections).toBeGreaterThan(0.59);
  });

  test("gives each pair the best factors of its stack: the squares of the singular values behind its rank are lost", () => {
    scope(() => {
      const blockOf = ({ checkpoint, architecture, config }: Model) => readBlock(checkpoint, architecture, config, 1).linears;
      const [whole, small] = [blockOf(dense), blockOf(model)];
      for (const stack of model.architecture.stacks) {
        const weight = vcat(...stack.map((name) => (whole.get(name) as Dense).weight)).to("f64");
        const layers = stack.map((name) => small.get(name) as LowRank);
        const [{ right }] = layers as [LowRank];
        expect(layers.every((layer) => layer.right === right)).toBe(true);
        const product = vcat(...layers.map(({ left }) => left)).matmul(right);
        const lost = svd(weight)
          .values.slice(right.rows)
          .reduce((sum, value) => sum + value * value, 0);
        expect(weight.sub(product.to("f64")).sumOfSquares() / lost).toBeCloseTo(1, 4);
      }
    });
  });

  test("leaves projections apart whose partner stays dense", () => {
    const name = "model.layers.0.mlp.gate_proj";
    expect(joined(dense, new Map([[name, 7]]), { joint: true, rankMultiple: 1 })).toEqual({
      ranks: new Map([[name, 7]]),
      sharedRights: new Map(),
    });
  });

  test.each(["nid-i", "kfac", "modegpt"])("is refused for %s", async (method) => {
    const given = { out: join(temporary("joint"), "refused"), method, allocate: "uniform", joint: true };
    await expect(compress(given)).rejects.toThrow(UsageError);
  });
});

test("refine moves a shared right factor once, and it is shared still", async () => {
  const refined = join(temporary("joint"), "refined");
  const given = { model: out, against: PEQUOD, out: refined, calibration: TEXT, window: 64, samples: 16, steps: 3 };
  const { divergence } = await refine(parseOptions(refineOptions, { ...given, learningRate: 1e-3 }), silentJob);
  expect(divergence.after).toBeLessThan(divergence.before);
  const { checkpoint } = await loadModel(refined);
  expect([...checkpoint.tensors.keys()].sort()).toEqual([...model.checkpoint.tensors.keys()].sort());
});

test.each([
  ["a projection that is not there", { "model.layers.0.mlp.up_proj": "model.layers.0.mlp.side_proj" }],
  ["one of another rank", { "model.layers.0.mlp.up_proj": "model.layers.0.self_attn.q_proj" }],
  [
    "one that shares another's itself",
    {
      "model.layers.0.mlp.up_proj": "model.layers.0.mlp.gate_proj",
      "model.layers.0.mlp.gate_proj": "model.layers.0.mlp.up_proj",
    },
  ],
])("a config that shares the right factor of %s is refused", (_, projection_shared_rights) => {
  expect(() => parseModelConfig({ ...model.configJson, projection_shared_rights })).toThrow(ConfigError);
});
