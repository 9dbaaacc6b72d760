/**
 * One sequence, token by token: all weights in memory, keys and values of past tokens cached in every block. Matrices that are
 * stored as bf16 stay so: the same values in half the memory, and a token takes as long as reading them does.
 */
import { type Head, logitsOf, readHead } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type BlockCache, type BlockWeights, forwardBlock } from "../models/model.ts";
import { EMBEDDING, readBlock, type TensorSource } from "../models/weights.ts";
import { dispose, embed, keep, scope, type Tensor } from "../tensor/index.ts";

export class Decoder {
  private readonly model: Model;
  private readonly table: Tensor; // v x d
  private readonly head: Head;
  private readonly blocks: readonly { readonly weights: BlockWeights; readonly cache: BlockCache }[];
  private seen = 0;

  constructor(model: Model) {
    const { architecture, config } = model;
    const checkpoint = asStored(model);
    this.model = model;
    this.head = keep(readHead({ checkpoint, config }));
    this.table = config.tiedEmbeddings ? this.head.table : keep(checkpoint.read(EMBEDDING));
    this.blocks = Array.from({ length: config.blocks }, (_, i) => {
      return { weights: keep(readBlock(checkpoint, architecture, config, i)), cache: {} };
    });
  }

  /** Logits (v values) after the last of these further tokens. */
  advance(tokens: Uint32Array): Float32Array {
    return scope(() => {
      const { architecture, config } = this.model;
      const positions = architecture.positions(config, this.seen, tokens.length);
      let x = embed(this.table, tokens).to("f32"); // t x d
      for (const { weights, cache } of this.blocks)
        x = forwardBlock(architecture, x, { config, weights, run: { sequences: 1, positions, cache } });
      this.seen += tokens.length;
      return logitsOf(this.model, this.head, x.rowRange(tokens.length - 1, tokens.length).contiguous()).toFloat32Array();
    });
  }

  dispose(): void {
    dispose([this.table, this.head.norm, this.head.table]);
    for (const { weights, cache } of this.blocks) dispose([weights.linears, weights.vectors, cache.keys, cache.values]);
  }
}

/** The weights, matrices of bf16 as such; but factors with a skeleton, which are put together in f32. */
function asStored({ checkpoint, config }: Model): TensorSource {
  const stays = (name: string) => {
    const { format, shape } = checkpoint.tensors.get(name) ?? {};
    return format === "bf16" && shape?.length === 2 && !config.skeletons.has(name.replace(/\.right\.\w+$/, ""));
  };
  return { read: (name) => (stays(name) ? scope(() => checkpoint.read(name).to("bf16")) : checkpoint.read(name)) };
}
