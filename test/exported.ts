/** Models to export: the golden ones, and the embedded one compressed. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeDemoTexts } from "../src/cli/demo-texts.ts";
import { FolderCheckpoint } from "../src/formats/folder.ts";
import { readJson } from "../src/formats/json.ts";
import { placesOf } from "../src/models/head-rows.ts";
import type { LlamaConfig } from "../src/models/llama.ts";
import type { Model } from "../src/models/load.ts";
import { parseModelConfig } from "../src/models/registry.ts";
import { compress } from "../src/pipeline/compress.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { type CompressOptions, compressOptions, parseOptions } from "../src/pipeline/options.ts";
import { scope, type Tensor } from "../src/tensor/index.ts";

export const PEQUOD = fileURLToPath(new URL("../assets/pequod-5m", import.meta.url));
const GOLDEN = fileURLToPath(new URL("golden/llama", import.meta.url));

export const goldenNames = readdirSync(GOLDEN, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** A small random model; it brings no tokenizer, so that any text is a row of its ids. */
export function goldenModel(name: string): Model {
  const path = join(GOLDEN, name);
  const configJson = readJson(join(path, "config.json"));
  const parsed = parseModelConfig(configJson);
  const ids = Uint32Array.from({ length: 40 }, (_, i) => (7 * i + 3) % parsed.config.vocabulary);
  const tokenizer = { encode: () => ids } as unknown as Model["tokenizer"];
  const checkpoint = FolderCheckpoint.open(path);
  return { path, source: path, ...parsed, configJson, checkpoint, tokenizer, companions: new Map(), parameters: 0, bytes: 0 };
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "rankfold-export-"));
}

/** The embedded model compressed with a little calibration, in a folder of `root`. */
export async function compressed(root: string, options: Partial<CompressOptions>): Promise<string> {
  const calibration = join(root, "calibration.txt");
  writeFileSync(calibration, readFileSync(writeDemoTexts(join(root, "texts")).calibration, "utf8").slice(0, 10_000));
  const out = mkdtempSync(join(root, "compressed-"));
  const given = { model: PEQUOD, out, calibration, samples: 8, window: 64, keep: 0.7, ...options };
  await compress(parseOptions(compressOptions, given), silentJob);
  return out;
}

/** The model with fewer channels in the MLP of its second block, and no whole number of blocks of them. */
export function narrower(model: Model, width = 500): Model {
  const read = (name: string): Tensor => {
    const tensor = model.checkpoint.read(name);
    if (/^model.layers.1.mlp.(gate|up)_proj/.test(name)) return scope(() => tensor.rowRange(0, width).contiguous());
    return name.startsWith("model.layers.1.mlp.down_proj") ? scope(() => tensor.columnRange(0, width).contiguous()) : tensor;
  };
  const config = { ...model.config, widths: new Map([[1, { channels: width }]]) };
  const configJson = { ...model.configJson, block_widths: { 1: { intermediate_size: width } } };
  return { ...model, config, configJson, checkpoint: { tensors: model.checkpoint.tensors, read, close() {} } };
}

/** The model with narrower heads in its second block: rotary pairs of each key/value head's own, and first values of each value head. */
export function narrowerHeads(model: Model, pairs = 3, value = 5): Model {
  const { heads } = model.config as LlamaConfig;
  const ropePairs = Array.from({ length: heads.keyValue }, (_, g) => {
    return Uint32Array.from({ length: pairs }, (_, i) => (5 * i + g) % (heads.dim / 2)).sort();
  });
  const widths = new Map([[1, { queryKey: 2 * pairs, value }]]);
  const config = { ...model.config, widths, ropePairs: new Map([[1, ropePairs]]) };
  const { rows, columns } = placesOf(model.architecture, config, 1);
  const read = (name: string): Tensor => {
    const tensor = model.checkpoint.read(name);
    const [, short = ""] = /^model\.layers\.1\.(.*)\.(weight|bias)$/.exec(name) ?? [];
    const [ownRows, ownColumns] = [rows.get(short), columns.get(short)];
    if (tensor.shape.length === 1)
      return ownRows ? scope(() => tensor.reshape(1, tensor.size).selectColumns(ownRows).reshape(ownRows.length)) : tensor;
    if (ownRows) return tensor.selectRows(ownRows);
    return ownColumns ? tensor.selectColumns(ownColumns) : tensor;
  };
  const configJson = {
    ...model.configJson,
    block_widths: { 1: { qk_head_dim: 2 * pairs, v_head_dim: value } },
    block_rope_pairs: { 1: ropePairs.map((own) => [...own]) },
  };
  return { ...model, config, configJson, checkpoint: { tensors: model.checkpoint.tensors, read, close() {} } };
}
