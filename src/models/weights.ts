/** Which tensors a checkpoint must hold for a config, and how a block's are read into linear layers. */
import { FormatError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { scope, type Tensor } from "../tensor/index.ts";
import type { Architecture, BlockWeights, Linear, ModelConfig, ProjectionShape } from "./model.ts";

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** Tensors that old checkpoints carry and that follow from the config. */
const REDUNDANT = /rotary_emb\.inv_freq$/;

/** A block's prefix in tensor names. */
export const blockPrefix = (block: number) => `model.layers.${block}.`;

/** The tensors that store one projection at the given rank (dense when undefined), with their shapes. */
export function projectionTensors({ name, rows, columns, bias }: ProjectionShape, rank: number | undefined, addedBias: boolean) {
  const tensors = new Map<string, readonly number[]>();
  if (rank === undefined) {
    tensors.set(`${name}.weight`, [rows, columns]);
    if (bias) tensors.set(`${name}.bias`, [rows]);
  } else {
    tensors.set(`${name}.left.weight`, [rows, rank]);
    tensors.set(`${name}.right.weight`, [rank, columns]);
    if (bias || addedBias) tensors.set(`${name}.left.bias`, [rows]);
  }
  return tensors;
}

/** Every tensor of one block and its shape. */
export function blockTensors(architecture: Architecture, config: ModelConfig, block: number): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>();
  for (const norm of architecture.norms) tensors.set(`${blockPrefix(block)}${norm}.weight`, [config.hiddenSize]);
  for (const projection of architecture.projections(config, block)) {
    const { name } = projection;
    for (const [tensor, shape] of projectionTensors(projection, config.ranks.get(name), config.addedBiases.has(name))) tensors.set(tensor, shape);
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
export function checkTensors(path: string, checkpoint: Checkpoint, expected: ReadonlyMap<string, readonly number[]>, config: ModelConfig): void {
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

/** Reads one block. The caller's scope owns the tensors. */
export function readBlock(checkpoint: Checkpoint, architecture: Architecture, config: ModelConfig, block: number): BlockWeights {
  const prefix = blockPrefix(block);
  const linears = architecture.projections(config, block).map((projection): [string, Linear] => {
    return [projection.name.slice(prefix.length), readLinear(checkpoint, projection, config)];
  });
  const vectors = architecture.norms.map((norm): [string, Tensor] => [norm, checkpoint.read(`${prefix}${norm}.weight`)]);
  return { linears: new Map(linears), vectors: new Map(vectors) };
}

function readLinear(checkpoint: Checkpoint, { name, rows, bias }: ProjectionShape, { ranks, addedBiases }: ModelConfig): Linear {
  const row = (tensor: string) => ({ bias: scope(() => checkpoint.read(tensor).reshape(1, rows)) });
  if (!ranks.has(name)) return { weight: checkpoint.read(`${name}.weight`), ...(bias ? row(`${name}.bias`) : {}) };
  const left = checkpoint.read(`${name}.left.weight`);
  const right = checkpoint.read(`${name}.right.weight`);
  return { left, right, ...(bias || addedBiases.has(name) ? row(`${name}.left.bias`) : {}) };
}
