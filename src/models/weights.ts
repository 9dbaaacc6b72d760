/** Which tensors a checkpoint must hold for a config, and how a block's are read into linear layers. */
import { FormatError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { otherColumns, scope, skeletonRows, type Tensor, vcat } from "../tensor/index.ts";
import type { Architecture, BlockWeights, Linear, LowRank, ModelConfig, ProjectionShape } from "./model.ts";

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** Tensors that old checkpoints carry and that follow from the config. */
const REDUNDANT = /rotary_emb\.inv_freq$/;

/** A block's prefix in tensor names. */
export const blockPrefix = (block: number) => `model.layers.${block}.`;

/** A projection's name without its block's prefix. */
export const nameInBlock = (name: string) => name.replace(/^model\.layers\.\d+\./, "");

/** The block of a tensor or projection. */
export const blockOf = (name: string) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1]);

/** The tensors that store one projection, with their shapes. */
export function projectionTensors(
  { name, rows, columns, bias }: ProjectionShape,
  { ranks, addedBiases, skeletons, sharedRights }: ModelConfig,
) {
  const tensors = new Map<string, readonly number[]>();
  const rank = ranks.get(name);
  if (rank === undefined) {
    tensors.set(`${name}.weight`, [rows, columns]);
    if (bias) tensors.set(`${name}.bias`, [rows]);
    return tensors;
  }
  const skeleton = skeletons.get(name)?.length ?? 0;
  tensors.set(`${name}.left.weight`, [rows, rank]);
  if (!sharedRights.has(name)) tensors.set(`${name}.right.weight`, [rank - skeleton, columns]);
  if (skeleton > 0) tensors.set(`${name}.right.coefficients`, [skeleton, columns - skeleton]);
  if (bias || addedBiases.has(name)) tensors.set(`${name}.left.bias`, [rows]);
  return tensors;
}

/** Every tensor of one block and its shape. */
export function blockTensors(architecture: Architecture, config: ModelConfig, block: number): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>();
  for (const norm of architecture.norms) tensors.set(`${blockPrefix(block)}${norm}.weight`, [config.hiddenSize]);
  for (const projection of architecture.projections(config, block)) {
    for (const [tensor, shape] of projectionTensors(projection, config)) tensors.set(tensor, shape);
  }
  return tensors;
}

/** The tensors outside the blocks and their shapes. */
export function outerTensors(config: ModelConfig): Map<string, readonly number[]> {
  const table = [config.vocabulary, config.hiddenSize];
  const tensors = new Map<string, readonly number[]>([
    [EMBEDDING, table],
    [FINAL_NORM, [config.hiddenSize]],
  ]);
  if (!config.tiedEmbeddings) tensors.set(HEAD, table);
  return tensors;
}

/** Every tensor the model needs. */
export function modelTensors(architecture: Architecture, config: ModelConfig): Map<string, readonly number[]> {
  const tensors = outerTensors(config);
  for (let block = 0; block < config.blocks; block++) {
    for (const [name, shape] of blockTensors(architecture, config, block)) tensors.set(name, shape);
  }
  return tensors;
}

/** @throws FormatError naming the first tensor that is missing, not expected, or of another shape. */
export function checkTensors(
  path: string,
  checkpoint: Checkpoint,
  expected: ReadonlyMap<string, readonly number[]>,
  config: ModelConfig,
): void {
  for (const [name, shape] of expected) {
    const info = checkpoint.tensors.get(name);
    if (!info) throw new FormatError(path, `tensor ${name} is missing; the config asks for it with shape ${shape.join(" x ")}`);
    if (info.shape.join() !== shape.join()) {
      throw new FormatError(path, `tensor ${name} has shape ${info.shape.join(" x ")}, the config asks for ${shape.join(" x ")}`);
    }
  }
  for (const name of checkpoint.tensors.keys()) {
    if (expected.has(name) || REDUNDANT.test(name) || (name === HEAD && config.tiedEmbeddings)) continue;
    throw new FormatError(path, `tensor ${name} is not one that the config explains; a bias or a layer would be lost`);
  }
}

/** Where tensors are read from by name. */
export type TensorSource = Pick<Checkpoint, "read">;

/** Reads one block. The caller's scope owns the tensors. */
export function readBlock(source: TensorSource, architecture: Architecture, config: ModelConfig, block: number): BlockWeights {
  const prefix = blockPrefix(block);
  const rights = new Map<string, Tensor>();
  const linears = architecture.projections(config, block).map((projection): [string, Linear] => {
    return [projection.name.slice(prefix.length), readLinear(source, projection, config, rights)];
  });
  const vectors = architecture.norms.map((norm): [string, Tensor] => [norm, source.read(`${prefix}${norm}.weight`)]);
  return { linears: new Map(linears), vectors: new Map(vectors), ropePairs: config.ropePairs.get(block) };
}

/** @param rights the block's right factors so far; one that is shared is one tensor. */
function readLinear(
  source: TensorSource,
  { name, rows, bias }: ProjectionShape,
  config: ModelConfig,
  rights: Map<string, Tensor>,
): Linear {
  const row = (tensor: string) => ({ bias: scope(() => source.read(tensor).reshape(1, rows)) });
  if (!config.ranks.has(name)) return { weight: source.read(`${name}.weight`), ...(bias ? row(`${name}.bias`) : {}) };
  const left = source.read(`${name}.left.weight`);
  const owner = config.sharedRights.get(name) ?? name;
  const right = rights.get(owner) ?? readRight(source, owner, config.skeletons.get(owner));
  rights.set(owner, right);
  return { left, right, ...(bias || config.addedBiases.has(name) ? row(`${name}.left.bias`) : {}) };
}

/** The right factor, k x n, a skeleton's rows written out. */
function readRight(source: TensorSource, name: string, columns: Uint32Array | undefined): Tensor {
  return scope(() => {
    const rows = source.read(`${name}.right.weight`);
    return columns ? vcat(rows, skeletonRows({ columns, coefficients: source.read(`${name}.right.coefficients`) })) : rows;
  });
}

/** A block's tensors by the names they are stored under. The caller's scope owns the tensors. */
export function storedTensors(
  { linears, vectors }: BlockWeights,
  block: number,
  { skeletons, sharedRights }: Pick<ModelConfig, "skeletons" | "sharedRights">,
): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  const prefix = blockPrefix(block);
  for (const [name, vector] of vectors) tensors.set(`${prefix}${name}.weight`, vector);
  for (const [name, layer] of linears) {
    if ("weight" in layer) tensors.set(`${prefix}${name}.weight`, layer.weight);
    else
      for (const [part, tensor] of storedFactors(layer, skeletons.get(prefix + name)))
        if (part === "left.weight" || !sharedRights.has(prefix + name)) tensors.set(`${prefix}${name}.${part}`, tensor);
    if (layer.bias) tensors.set(`${prefix}${name}${"left" in layer ? ".left" : ""}.bias`, flat(layer.bias));
  }
  return tensors;
}

const flat = (bias: Tensor) => bias.reshape(bias.size);

function storedFactors({ left, right }: LowRank, skeleton: Uint32Array | undefined): [string, Tensor][] {
  if (!skeleton)
    return [
      ["left.weight", left],
      ["right.weight", right],
    ];
  const plain = right.rows - skeleton.length;
  const coefficients = right.rowRange(plain, right.rows).selectColumns(otherColumns(skeleton, right.columns));
  return [
    ["left.weight", left],
    ["right.weight", right.rowRange(0, plain)],
    ["right.coefficients", coefficients],
  ];
}
