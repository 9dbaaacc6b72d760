/** Opens a model: config, tokenizer and the checkpoint that its weights are read from, one tensor at a time. */
import { existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { FormatError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { FolderCheckpoint } from "../formats/folder.ts";
import { GgufCheckpoint } from "../formats/gguf.ts";
import { fetchModel } from "../formats/hub.ts";
import { parseHubId, type TransferWatcher } from "../formats/hub-access.ts";
import { readJson } from "../formats/json.ts";
import { readTokenizer } from "../tokenizer/read-tokenizer.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { Json } from "./config.ts";
import type { Architecture, ModelConfig } from "./model.ts";
import { parseModelConfig } from "./registry.ts";
import { checkTensors, modelTensors } from "./weights.ts";

export interface Model {
  /** The folder or file that it is read from. */
  readonly path: string;
  /** What results call it: the path, or for a model of the hub `owner/name@commit`. */
  readonly source: string;
  readonly architecture: Architecture;
  readonly config: ModelConfig;
  /** config.json as it was read, or as a GGUF file's metadata gives it. */
  readonly configJson: Json;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  /** Files to copy, or to write anew, beside a compressed model: name -> contents or the file to copy. */
  readonly companions: ReadonlyMap<string, Companion>;
  /** Values in all tensors. */
  readonly parameters: number;
  /** Bytes of all tensors as stored. */
  readonly bytes: number;
}

export type Companion = { readonly copyOf: string } | { readonly json: Json };

/** Tokenizer and generation files that a model folder may hold. */
export const COMPANIONS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "tokenizer.model",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

/** Files of models that rankfold wrote. */
const OWN_FILES = ["rankfold.json"];

/**
 * @param given a Hugging Face folder, a rankfold output or a GGUF file; else the id of a model of the hub, which is fetched.
 * @throws FormatError, ConfigError, UnsupportedError when it is not a model that rankfold reads whole, HubError when the
 * hub does not give it.
 */
export async function loadModel(given: string, watcher: TransferWatcher = SILENT): Promise<Model> {
  const { path, source } = await locate(given, watcher);
  const opened = statSync(path).isDirectory() ? openFolder(path) : await openGguf(path);
  const { architecture, config } = parseModelConfig(opened.configJson);
  const expected = modelTensors(architecture, config);
  checkTensors(path, opened.checkpoint, expected, config);
  const infos = [...expected.keys()].map((name) => opened.checkpoint.tensors.get(name));
  return {
    path,
    source,
    architecture,
    config,
    ...opened,
    parameters: infos.reduce((sum, info) => sum + (info?.shape.reduce((a, b) => a * b, 1) ?? 0), 0),
    bytes: infos.reduce((sum, info) => sum + (info?.bytes ?? 0), 0),
  };
}

const SILENT: TransferWatcher = { progress() {}, note() {}, checkpoint() {} };

/** What lies on the disk comes first. */
async function locate(given: string, watcher: TransferWatcher): Promise<Pick<Model, "path" | "source">> {
  if (existsSync(given)) return { path: given, source: given };
  const id = parseHubId(given);
  if (!id) throw new FormatError(given, "there is no such file or folder; give a model folder or a .gguf file");
  const { folder, source } = await fetchModel(id, [...COMPANIONS, ...OWN_FILES], watcher);
  return { path: folder, source };
}

type Opened = Pick<Model, "configJson" | "checkpoint" | "tokenizer" | "companions">;

function openFolder(path: string): Opened {
  const present = COMPANIONS.filter((name) => existsSync(join(path, name)));
  return {
    configJson: readJson(join(path, "config.json")),
    checkpoint: FolderCheckpoint.open(path),
    tokenizer: readTokenizer(path),
    companions: new Map(present.map((name) => [name, { copyOf: join(path, name) }])),
  };
}

async function openGguf(path: string): Promise<Opened> {
  if (!basename(path).endsWith(".gguf")) throw new FormatError(path, "is neither a folder nor a .gguf file");
  const checkpoint = await GgufCheckpoint.open(path);
  const [tokenizerJson, tokenizerConfig] = [checkpoint.tokenizerJson(), checkpoint.tokenizerConfig()];
  return {
    configJson: checkpoint.hfConfig(),
    checkpoint,
    tokenizer: Tokenizer.fromJson(tokenizerJson, tokenizerConfig),
    companions: new Map([
      ["tokenizer.json", { json: tokenizerJson }],
      ["tokenizer_config.json", { json: tokenizerConfig }],
    ]),
  };
}
