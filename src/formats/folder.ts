/** A Hugging Face model folder: `model.safetensors`, or shards that `model.safetensors.index.json` lists. */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { FormatError, UnsupportedError } from "../errors.ts";
import { isObject } from "../json-object.ts";
import { scope, type Tensor } from "../tensor/index.ts";
import { type Checkpoint, finite, type TensorInfo } from "./checkpoint.ts";
import { readJson } from "./json.ts";
import { INDEX_FILE, SafetensorsFile, SINGLE_FILE } from "./safetensors.ts";
import { storage } from "./storage.ts";

/** Opening these would run code that they hold. */
const PICKLE = /\.(bin|pth|pt|ckpt|pkl)$/;

export class FolderCheckpoint implements Checkpoint {
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The file of every tensor, also of those that no weight can be (I64 buffers). */
  private readonly files: ReadonlyMap<string, SafetensorsFile>;

  private constructor(folder: string, files: ReadonlyMap<string, SafetensorsFile>) {
    this.folder = folder;
    this.files = files;
    this.tensors = new Map([...files].flatMap(([name, file]) => describeTensor(name, file)));
  }

  /** @throws FormatError when the folder is no model or contradicts itself, UnsupportedError when it holds only pickle files. */
  static open(folder: string): FolderCheckpoint {
    if (existsSync(join(folder, SINGLE_FILE))) return new FolderCheckpoint(folder, singleFile(join(folder, SINGLE_FILE)));
    if (existsSync(join(folder, INDEX_FILE))) return new FolderCheckpoint(folder, shardedFiles(folder));
    throw noWeights(folder);
  }

  read(name: string): Tensor {
    const file = this.files.get(name);
    if (!file) throw new FormatError(this.folder, `expected a tensor ${name}, found none; the model is incomplete`);
    return scope(() => finite(this.folder, name, file.read(name).to("f32")));
  }

  close(): void {
    for (const file of this.files.values()) file.close();
  }
}

function describeTensor(name: string, file: SafetensorsFile): [string, TensorInfo][] {
  const entry = file.entries.get(name);
  return entry?.format ? [[name, { shape: entry.shape, format: entry.format, bytes: entry.length }]] : [];
}

function singleFile(path: string): ReadonlyMap<string, SafetensorsFile> {
  const file = new SafetensorsFile(path);
  return new Map([...file.entries.keys()].map((name) => [name, file]));
}

function shardedFiles(folder: string): ReadonlyMap<string, SafetensorsFile> {
  const path = join(folder, INDEX_FILE);
  const { weight_map: weights } = readJson(path);
  if (!isObject(weights))
    throw new FormatError(path, "expected weight_map, an object of tensor names and files; fetch the file again");
  const shards = new Map([...new Set(Object.values(weights))].map((shard) => [shard, openShard(folder, shard)]));
  return new Map(Object.entries(weights).map(([name, shard]) => [name, holding(name, shards.get(shard) as SafetensorsFile)]));
}

function openShard(folder: string, shard: unknown): SafetensorsFile {
  if (!isPlainName(shard)) {
    throw new FormatError(
      join(folder, INDEX_FILE),
      `expected plain names of .safetensors files in its folder, got ${typeof shard === "string" ? shard : typeof shard}`,
    );
  }
  const path = join(folder, shard);
  if (!existsSync(path)) throw new FormatError(path, `expected this shard, which ${INDEX_FILE} lists, found none; fetch it`);
  return new SafetensorsFile(path);
}

/** A name with a separator could lead out of the folder. */
function isPlainName(shard: unknown): shard is string {
  return typeof shard === "string" && /^[^/\\:\0]+\.safetensors$/.test(shard) && !shard.startsWith(".");
}

function holding(name: string, file: SafetensorsFile): SafetensorsFile {
  if (file.entries.has(name)) return file;
  throw new FormatError(
    file.path,
    `expected the tensor ${name}, which ${INDEX_FILE} places here, found none; fetch both files again`,
  );
}

function noWeights(folder: string): FormatError | UnsupportedError {
  if (!existsSync(folder)) return new FormatError(folder, "expected a model folder, found none; check the path");
  const files = storage(folder, () => readdirSync(folder));
  const pickle = files.find((file) => PICKLE.test(file));
  if (pickle) {
    return new UnsupportedError(
      `${join(folder, pickle)}: expected safetensors, got a pickle file, which is never opened because it can run code; ` +
        "convert the model with transformers: save_pretrained(folder, safe_serialization=True)",
    );
  }
  const gguf = files.find((file) => file.endsWith(".gguf"));
  const advice = gguf ? `give the file ${join(folder, basename(gguf))} itself` : "give the folder of a Hugging Face model";
  return new FormatError(folder, `expected ${SINGLE_FILE} or ${INDEX_FILE}, found neither; ${advice}`);
}
