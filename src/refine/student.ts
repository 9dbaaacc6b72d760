/** A compressed model held whole in memory, so that its weights can move. The embedding table and the head stay as they are. */
import { readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights, Linear, LowRank } from "../models/model.ts";
import { blockPrefix, EMBEDDING, FINAL_NORM, readBlock, storedTensors } from "../models/weights.ts";
import { type DType, keep, scope, Tensor } from "../tensor/index.ts";

export interface Student {
  readonly model: Model;
  /** v x d both; one tensor where they are tied. */
  readonly embedding: Tensor;
  readonly head: Tensor;
  readonly blocks: BlockWeights[];
  /** Weight of the norm before the head, d. */
  norm: Tensor;
}

export function readStudent(model: Model): Student {
  const { checkpoint, architecture, config } = model;
  const fixed = new Set([...config.skeletons.keys(), ...[...config.sharedRights].flat()]);
  return scope(() => {
    const { norm, table: head } = readHead(model);
    const embedding = config.tiedEmbeddings ? head : checkpoint.read(EMBEDDING);
    const blocks = Array.from({ length: config.blocks }, (_, block) =>
      evened(readBlock(checkpoint, architecture, config, block), (name) => fixed.has(blockPrefix(block) + name)),
    );
    return keep({ model, embedding, head, blocks, norm });
  });
}

/** A block's factors evened out, but those that `isFixed` names. */
function evened(block: BlockWeights, isFixed: (name: string) => boolean): BlockWeights {
  const even = ([name, layer]: [string, Linear]): [string, Linear] => {
    return [name, "left" in layer && !isFixed(name) ? evenFactors(layer) : layer];
  };
  return { ...block, linears: new Map([...block.linears].map(even)) };
}

/**
 * The same product with columns on the left as large as their rows on the right, in the mean square. Every entry moves by
 * about the learning rate in a step of Adam; with an orthonormal right factor and all the size on the left that is far too
 * much on one side and nothing on the other.
 */
export function evenFactors({ left, right, ...rest }: LowRank): LowRank {
  return scope(() => {
    const above = right
      .mul(right)
      .rowSums()
      .scale(1 / right.columns)
      .toFloat64Array(); // k
    const below = left
      .mul(left)
      .columnSums()
      .scale(1 / left.rows)
      .toFloat64Array(); // k
    const factors = Float32Array.from(above, (value, i) =>
      value > 0 && (below[i] as number) > 0 ? (value / (below[i] as number)) ** 0.25 : 1,
    );
    const k = factors.length;
    const inverse = factors.map((factor) => 1 / factor);
    return { left: left.mul(Tensor.from(factors, [1, k])), right: right.mul(Tensor.from(inverse, [k, 1])), ...rest };
  });
}

/** A block with each of its tensors replaced, one that several layers share once; `key` is `self_attn.q_proj.left`, `input_layernorm`. */
export function mapTensors(block: BlockWeights, change: (tensor: Tensor, key: string) => Tensor): BlockWeights {
  const done = new Map<Tensor, Tensor>();
  const once = (tensor: Tensor, key: string) => {
    const made = done.get(tensor) ?? change(tensor, key);
    done.set(tensor, made);
    return made;
  };
  const changed = ([name, layer]: [string, Linear]): [string, Linear] => {
    const parts = Object.entries(layer).map(([part, tensor]) => [part, once(tensor, `${name}.${part}`)]);
    return [name, Object.fromEntries(parts)];
  };
  return {
    ...block,
    linears: new Map([...block.linears].map(changed)),
    vectors: new Map([...block.vectors].map(([name, tensor]) => [name, change(tensor, name)])),
  };
}

/** Each tensor of a block once, by the key that `mapTensors` gives it. */
export function tensorsOf(block: BlockWeights): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  mapTensors(block, (tensor, key) => {
    found.set(key, tensor);
    return tensor;
  });
  return found;
}

/** Blocks and final norm at one moment. */
export type Snapshot = Pick<Student, "blocks" | "norm">;

/** A copy in the dtype that will be written, which lives until it is disposed of. */
export function snapshotOf({ blocks, norm }: Snapshot, dtype: DType): Snapshot {
  // A handle of its own, for the weights themselves are freed when they move.
  const copy = (tensor: Tensor) => keep(scope(() => tensor.to(dtype).reshape(...tensor.shape)));
  return { blocks: blocks.map((weights) => mapTensors(weights, copy)), norm: copy(norm) };
}

/** The tensors of a block that training moves: all but right factors whose last rows are an identity in disguise. */
export function movable({ model, blocks }: Pick<Student, "model" | "blocks">, block: number): Tensor[] {
  const isFixed = (key: string) =>
    key.endsWith(".right") && model.config.skeletons.has(blockPrefix(block) + key.replace(/\.right$/, ""));
  return [...tensorsOf(blocks[block] as BlockWeights)].flatMap(([key, tensor]) => (isFixed(key) ? [] : [tensor]));
}

/** Every tensor that training may have moved, by the name it is stored under. The caller's scope owns the tensors. */
export function storedStudent({ model, blocks, norm }: Pick<Student, "model" | "blocks" | "norm">): Map<string, Tensor> {
  const tensors = blocks.flatMap((weights, block) => [...storedTensors(weights, block, model.config)]);
  return new Map([...tensors, [FINAL_NORM, norm]]);
}
