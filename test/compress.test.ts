import {
  appendFileSync,
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FormatError, InterruptedError, MemoryError, NumericsError, UnsupportedError, UsageError } from "../src/errors.ts";
import { FolderCheckpoint } from "../src/formats/folder.ts";
import { loadModel } from "../src/models/load.ts";
import { evaluate } from "../src/pipeline/evaluate.ts";
import { inspect } from "../src/pipeline/inspect.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { evaluateOptions, parseOptions } from "../src/pipeline/options.ts";
import { scope, type Tensor } from "../src/tensor/index.ts";
import { compress, PEQUOD, TEXT, temporary, weightBytes } from "./pequod.ts";

const perplexity = async (model: string) => {
  const options = parseOptions(evaluateOptions, { model, texts: [TEXT], window: 128, maxWindows: 8 });
  return (await evaluate(options, silentJob)).texts[0]?.perplexity as number;
};

const out = (name: string) => join(temporary(name), "out");

describe("compress", () => {
  test("the same command twice gives the same bytes", async () => {
    const [a, b] = [out("a"), out("b")];
    await compress({ out: a, method: "nsvd-i" });
    await compress({ out: b, method: "nsvd-i" });
    expect(weightBytes(a).equals(weightBytes(b))).toBe(true);
  });

  test("keeps what was asked for, and says so in the files it writes", async () => {
    const folder = out("kept");
    const result = await compress({ out: folder, keep: 0.8 });
    expect(result.keptProjections).toBeLessThanOrEqual(0.8);
    expect(result.keptProjections).toBeGreaterThan(0.78);
    const model = await loadModel(folder);
    expect(model.parameters).toBe(result.parameters);
    expect(JSON.parse(readFileSync(join(folder, "rankfold.json"), "utf8"))).toMatchObject({ method: "svd-llm", keep: 0.8 });
    expect(readdirSync(folder)).toEqual(
      expect.arrayContaining(["config.json", "README.md", "tokenizer.json", "modeling_rankfold.py"]),
    );
  });

  test("uncentred rom and svd-llm make the same layers from the same inputs", async () => {
    const [a, b] = [out("rom"), out("svdllm")];
    await compress({ out: a, method: "rom", propagate: "original", dtype: "f32" });
    await compress({ out: b, method: "svd-llm", propagate: "original", dtype: "f32" });
    const [rom, whitened] = [FolderCheckpoint.open(a), FolderCheckpoint.open(b)];
    scope(() => {
      for (const name of ["model.layers.0.self_attn.q_proj", "model.layers.5.mlp.down_proj"]) {
        const product = (from: FolderCheckpoint) => from.read(`${name}.left.weight`).matmul(from.read(`${name}.right.weight`));
        const [x, y] = [product(rom), product(whitened)];
        // Factors are f32: each product carries a relative rounding of about k eps = 150 * 6e-8.
        expect(Math.sqrt(x.sub(y).sumOfSquares() / x.sumOfSquares())).toBeLessThan(1e-5);
      }
    });
  });

  test("with compressed inputs each projection is fitted to what it will see", async () => {
    const [a, b] = [out("original"), out("compressed")];
    const original = await compress({ out: a, method: "rom", propagate: "original", keep: 0.5 });
    const sequential = await compress({ out: b, method: "rom", propagate: "compressed", keep: 0.5 });
    expect(sequential.projections.map(({ rank }) => rank)).toEqual(original.projections.map(({ rank }) => rank));
    // The first block's q, k, v see the embeddings either way; what comes after does not.
    expect(sequential.projections[0]?.retainedEnergy).toBeCloseTo(original.projections[0]?.retainedEnergy as number, 6);
    expect(sequential.projections.at(-1)?.retainedEnergy).not.toBeCloseTo(
      original.projections.at(-1)?.retainedEnergy as number,
      6,
    );
  });

  test("anchored fits bring each projection's output nearer to the dense model's than fits to the compressed inputs alone", async () => {
    const retained = async (anchor: number) => {
      const options = { method: "saes-svd", anchor, include: "layers.[01]", keep: 0.5, samples: 32 };
      const { projections } = await compress({ out: out("anchored"), ...options });
      return projections.map(({ retainedEnergy }) => retainedEnergy as number);
    };
    const [anchored, free] = [await retained(1), await retained(0)];
    // The first block's q, k, v see the embeddings either way.
    for (const i of [0, 1, 2]) expect(anchored[i]).toBeCloseTo(free[i] as number, 6);
    // o, gate and up of the first block: the inputs of its later ones are not the same any more.
    for (const i of [3, 4, 5]) expect(anchored[i]).toBeGreaterThan(free[i] as number);
  });

  test("with the weight as target, saes-svd makes what svd-llm makes on compressed inputs", async () => {
    const [a, b] = [out("saes"), out("svdllm")];
    await compress({ out: a, method: "saes-svd", anchor: 0, dtype: "f32" });
    await compress({ out: b, method: "svd-llm", propagate: "compressed", dtype: "f32" });
    const folders = [FolderCheckpoint.open(a), FolderCheckpoint.open(b)] as const;
    scope(() => {
      for (const name of ["model.layers.0.self_attn.o_proj", "model.layers.5.mlp.down_proj"]) {
        const [x, y] = folders.map((from) => from.read(`${name}.left.weight`).matmul(from.read(`${name}.right.weight`)));
        // The sums of both models' inputs are cut into other tiles than those of one: f32 rounding, grown block by block.
        expect(Math.sqrt((x as Tensor).sub(y as Tensor).sumOfSquares() / (x as Tensor).sumOfSquares())).toBeLessThan(1e-3);
      }
    });
  });

  test.each([
    [{ statistics: "somewhere" }, /aa-svd compares .* --statistics knows the dense ones alone/],
    [{ propagate: "original" }, /--propagate original knows the dense ones alone/],
    [{ allocate: "auto" }, /--allocate auto knows the dense ones alone/],
    [{ targetPerplexity: 40 }, /--target-perplexity knows the dense ones alone/],
  ] as const)("a method that compares both models is refused where one is measured alone: %o", async (options, message) => {
    await expect(compress({ out: out("no"), method: "aa-svd", ...options })).rejects.toThrow(message);
  });

  test.each(["svd", "asvd", "nid-i", "ridge", "aa-svd"])("%s makes a model that predicts text", async (method) => {
    const folder = out(method);
    await compress({ out: folder, method, keep: 0.9 });
    expect(await perplexity(folder)).toBeLessThan(20 * (await perplexity(PEQUOD)));
  });

  test("rom with the mean's bias stores one for every projection it factors", async () => {
    const folder = out("bias");
    await compress({ out: folder, method: "rom", center: "mean" });
    const biases = [...FolderCheckpoint.open(folder).tensors.keys()].filter((name) => name.endsWith(".left.bias"));
    expect(biases).toHaveLength(42);
    expect(await perplexity(folder)).toBeLessThan(1.5 * (await perplexity(PEQUOD)));
  });

  test("auto keeps the size asked for and loses less than uniform", async () => {
    const [a, b] = [out("auto"), out("uniform")];
    const result = await compress({ out: a, allocate: "auto", keep: 0.6, samples: 32 });
    await compress({ out: b, allocate: "uniform", keep: 0.6, samples: 32 });
    expect(result.keptProjections).toBeLessThanOrEqual(0.6);
    expect(result.keptProjections).toBeGreaterThan(0.59);
    expect(await perplexity(a)).toBeLessThan(await perplexity(b));
    expect(existsSync(`${a}.statistics`)).toBe(false);
  }, 300_000);

  test("last-blocks leaves the first blocks as they are, and says what its blocks keep of all", async () => {
    const result = await compress({ out: out("last"), allocate: "last-blocks", blocks: 2, blockKeep: 0.46 });
    const factored = result.projections.map(({ name }) => Number(/\d+/.exec(name)?.[0]));
    expect(new Set(factored)).toEqual(new Set([4, 5]));
    expect(result.keep).toBe(0.82);
    expect(Math.abs(result.keptProjections - 0.82)).toBeLessThan(0.01);
    expect(result.keptTotal).toBeGreaterThan(result.keptProjections);
  });

  test("a compressed model works as MODEL, but not for another compression", async () => {
    const folder = out("again");
    await compress({ out: folder });
    expect(await inspect({ model: folder }, silentJob)).toMatchObject({ compressedBy: "svd-llm", modelType: "llama" });
    await expect(compress({ model: folder, out: out("twice") })).rejects.toThrow(UnsupportedError);
  });

  test("bounds hold: --include and --exclude choose, --rank-multiple rounds down", async () => {
    const result = await compress({ out: out("chosen"), include: "mlp", exclude: "layers\\.0\\.", rankMultiple: 8 });
    const names = result.projections.map(({ name }) => name);
    expect(names).toHaveLength(15);
    expect(names.every((name) => name.includes("mlp") && !name.includes("layers.0."))).toBe(true);
    expect(result.projections.every(({ rank }) => (rank as number) % 8 === 0)).toBe(true);
  });
});

/** A job that asks to stop at its n-th checkpoint. */
function stopping(n: number): Job {
  let seen = 0;
  const checkpoint = () => {
    if (++seen === n) throw new InterruptedError("interrupted");
  };
  return { ...silentJob, checkpoint };
}

describe("an interrupted run", () => {
  test.each([
    ["nsvd-i", "original"],
    ["nsvd-i", "compressed"],
    ["aa-svd", "compressed"],
  ] as const)("continues to the same bytes, %s, %s propagation", async (method, propagate) => {
    const [whole, broken] = [out("whole"), out("broken")];
    const options = { method, propagate };
    await compress({ out: whole, ...options });
    await expect(compress({ out: broken, ...options }, stopping(40))).rejects.toThrow(/--resume continues/);
    expect(existsSync(broken)).toBe(false);
    await compress({ out: broken, ...options, resume: true });
    expect(weightBytes(broken).equals(weightBytes(whole))).toBe(true);
    expect(existsSync(`${broken}.partial`)).toBe(false);
  });

  test("is not mixed with other options, nor started over by mistake", async () => {
    const folder = out("mixed");
    await expect(compress({ out: folder }, stopping(40))).rejects.toThrow(InterruptedError);
    await expect(compress({ out: folder, keep: 0.7, resume: true })).rejects.toThrow(/keep/);
    await expect(compress({ out: folder })).rejects.toThrow(/unfinished run/);
  });

  test("whose files were damaged says so", async () => {
    const folder = out("damaged");
    await expect(compress({ out: folder }, stopping(40))).rejects.toThrow(InterruptedError);
    const file = join(`${folder}.partial`, "model.safetensors.partial");
    const descriptor = openSync(file, "r+");
    // The embedding and the first block's weights begin behind the header.
    writeSync(descriptor, Buffer.alloc(64, 7), 0, 64, 20_000);
    closeSync(descriptor);
    await expect(compress({ out: folder, resume: true })).rejects.toThrow(/damaged/);
  });

  test("that saved nothing leaves nothing", async () => {
    const folder = out("nothing");
    await expect(compress({ out: folder }, stopping(1))).rejects.toThrow(InterruptedError);
    expect(existsSync(folder) || existsSync(`${folder}.partial`)).toBe(false);
  });

  test("resuming with nothing saved starts afresh", async () => {
    const folder = out("afresh");
    await compress({ out: folder, resume: true });
    expect(existsSync(join(folder, "model.safetensors"))).toBe(true);
  });
});

/** A copy of the embedded model whose config is changed. */
function withConfig(change: Record<string, unknown>): string {
  const folder = temporary("model");
  cpSync(PEQUOD, folder, { recursive: true });
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...change }));
  return folder;
}

describe("bad input gets a named error and leaves nothing", () => {
  const refused = async (options: Parameters<typeof compress>[0], error: new (...args: never[]) => Error, says: RegExp) => {
    await expect(compress(options)).rejects.toThrow(error);
    await expect(compress(options)).rejects.toThrow(says);
    if (!existsSync(options.out) || readdirSync(options.out).length === 0) return;
    throw new Error(`${options.out} was left behind`);
  };

  test("an unknown architecture, with the names near it", async () => {
    await refused({ model: withConfig({ model_type: "lama" }), out: out("x") }, UnsupportedError, /did you mean llama/);
  });
  test("a config that contradicts the tensors", async () => {
    await refused(
      { model: withConfig({ intermediate_size: 512 }), out: out("x") },
      FormatError,
      /gate_proj.*704 x 256.*512 x 256/,
    );
  });
  test("a config that explains fewer tensors than there are", async () => {
    await refused(
      { model: withConfig({ num_hidden_layers: 5 }), out: out("x") },
      FormatError,
      /layers\.5.*not one that the config explains/,
    );
  });
  test("a config that asks for more tensors than there are", async () => {
    await refused({ model: withConfig({ num_hidden_layers: 7 }), out: out("x") }, FormatError, /layers\.6.*missing/);
  });
  test("a NaN among the weights, with the tensor's name", async () => {
    const folder = withConfig({});
    const file = join(folder, "model.safetensors");
    const bytes = readFileSync(file);
    const header = Number(bytes.readBigUInt64LE());
    const entries = JSON.parse(bytes.subarray(8, 8 + header).toString());
    const [start] = entries["model.layers.1.mlp.up_proj.weight"].data_offsets;
    bytes.writeUInt16LE(0x7fc0, 8 + header + start); // bf16 NaN
    writeFileSync(file, bytes);
    await refused({ model: folder, out: out("x") }, NumericsError, /layers\.1\.mlp\.up_proj/);
  });
  test("a text too short for the windows", async () => {
    await refused({ out: out("x"), samples: 100_000 }, UsageError, /100000 windows of 128/);
  });
  test("keep outside (0, 1]", async () => {
    for (const keep of [0, -0.5, 1.5, Number.NaN]) await refused({ out: out("x"), keep }, UsageError, /keep/);
  });
  test("an output folder that is not empty", async () => {
    const folder = temporary("full");
    writeFileSync(join(folder, "precious.txt"), "mine");
    await expect(compress({ out: folder })).rejects.toThrow(/not an empty folder/);
    expect(readdirSync(folder)).toEqual(["precious.txt"]);
  });
  test("a plan above --memory, before anything is computed", async () => {
    await refused({ out: out("x"), memoryBytes: 1e6 }, MemoryError, /--memory/);
  });
  test("a method, an allocation or a regular expression that is none", async () => {
    await refused({ out: out("x"), method: "svd-lm" }, UsageError, /did you mean svd-llm/);
    await refused({ out: out("x"), allocate: "unifrom" }, UsageError, /did you mean uniform/);
    await refused({ out: out("x"), include: "(" }, UsageError, /--include/);
  });
  test("blocks that are not there, or for an allocation that reads none", async () => {
    const allocate = "last-blocks";
    await refused({ out: out("x"), allocate, blocks: 7 }, UsageError, /--blocks 7: expected at most the 6 blocks/);
    await refused({ out: out("x"), blocks: 2 }, UsageError, /last-blocks alone, got uniform/);
    await refused({ out: out("x"), allocate, blockKeep: 0.5 }, UsageError, /give it with --blocks/);
  });
  test("a method that measures, without a text", async () => {
    await refused({ out: out("x"), calibration: undefined }, UsageError, /--calibration/);
  });
  test("a missing model or text", async () => {
    await refused({ model: "nowhere", out: out("x") }, FormatError, /no such file/);
    await expect(compress({ out: out("x"), calibration: ["nowhere.txt"] })).rejects.toThrow(/nowhere\.txt/);
  });
  test("weights in pickle files, which are never opened", async () => {
    const folder = temporary("pickle");
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) cpSync(join(PEQUOD, file), join(folder, file));
    appendFileSync(join(folder, "pytorch_model.bin"), "not opened");
    await refused({ model: folder, out: out("x") }, UnsupportedError, /pickle/);
  });
  test("a place that cannot be written, with its name", async () => {
    await expect(compress({ out: join(TEXT, "out") })).rejects.toThrow(/addresses\.txt/);
  });
});
