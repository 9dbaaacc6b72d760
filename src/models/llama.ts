/**
 * Llama family (Llama 1-3, SmolLM2, TinyLlama, Vicuna, Mistral): RMSNorm, rotary positions, grouped-query attention, gated
 * SiLU MLP. Touvron et al. 2023, arXiv:2302.13971; Jiang et al. 2023, arXiv:2310.06825. Tensor names are the checkpoints'.
 *
 *   t tokens · d hiddenSize · h query heads · g key/value heads · e headDim · f intermediateSize
 */
import { ConfigError, UnsupportedError } from "../errors.ts";
import { hcat, rmsNorm, rope, scope, swiglu, type Tensor } from "../tensor/index.ts";
import { boolean, type Json, positive, positiveInt } from "./config.ts";
import {
  type Architecture,
  attend,
  type Block,
  type HeadShape,
  type Linear,
  linear,
  linears,
  type ModelConfig,
  type ProjectionShape,
} from "./model.ts";
import { parseRotation, type Rotation, ropeTable } from "./rope.ts";

export interface LlamaConfig extends ModelConfig {
  readonly heads: HeadShape;
  readonly intermediateSize: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** Keys a query sees, itself included; absent where it sees all before it. */
  readonly slidingWindow?: number;
  readonly rotation: Rotation;
}

export const llama: Architecture<LlamaConfig> = {
  modelTypes: ["llama", "mistral"],

  parseConfig(json, shared) {
    const hiddenSize = positiveInt(json, "hidden_size");
    const query = positiveInt(json, "num_attention_heads");
    const dim = positiveInt(json, "head_dim", hiddenSize / query);
    const keyValue = positiveInt(json, "num_key_value_heads", query);
    if (dim % 2 !== 0) throw new ConfigError("head_dim", `must be even for rotary positions, got ${dim}`);
    if (query % keyValue !== 0) throw new ConfigError("num_key_value_heads", `must divide ${query} query heads, got ${keyValue}`);
    if ((json.hidden_act ?? "silu") !== "silu")
      throw new UnsupportedError(`config.json: hidden_act ${String(json.hidden_act)} is not known; known is silu`);
    checkNarrowBlocks(shared, keyValue, dim);
    return {
      ...shared,
      heads: { query, keyValue, dim },
      intermediateSize: positiveInt(json, "intermediate_size"),
      attentionBias: boolean(json, "attention_bias", false),
      mlpBias: boolean(json, "mlp_bias", false),
      ...slidingWindow(json),
      rotation: parseRotation(json, dim),
    };
  },

  projections(config, block) {
    const { hiddenSize: d, attentionBias, mlpBias } = config;
    const { query, keyValue, dim } = config.heads;
    const { channels: f = config.intermediateSize, queryKey: e = dim, value: ev = dim } = config.widths.get(block) ?? {};
    const at = (site: string, name: string, rows: number, columns: number, bias: boolean): ProjectionShape => {
      return { name: `model.layers.${block}.${name}`, site, rows, columns, bias };
    };
    return [
      at("attention.in", "self_attn.q_proj", query * e, d, attentionBias),
      at("attention.in", "self_attn.k_proj", keyValue * e, d, attentionBias),
      at("attention.in", "self_attn.v_proj", keyValue * ev, d, attentionBias),
      at("attention.out", "self_attn.o_proj", d, query * ev, attentionBias),
      at("mlp.in", "mlp.gate_proj", f, d, mlpBias),
      at("mlp.in", "mlp.up_proj", f, d, mlpBias),
      at("mlp.hidden", "mlp.down_proj", d, f, mlpBias),
    ];
  },

  stacks: [
    ["self_attn.q_proj", "self_attn.k_proj"],
    ["mlp.gate_proj", "mlp.up_proj"],
  ],

  channels: { inputs: ["mlp.gate_proj", "mlp.up_proj"], output: "mlp.down_proj", site: "mlp.hidden" },

  heads: {
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    shape: ({ heads }) => heads,
  },

  parts: ({ heads: { dim }, intermediateSize }) => [
    {
      part: "queryKey",
      site: "attention.in",
      projections: ["self_attn.q_proj", "self_attn.k_proj"],
      width: dim,
      step: 2,
    },
    { part: "value", site: "attention.in", projections: ["self_attn.v_proj", "self_attn.o_proj"], width: dim, step: 1 },
    {
      part: "channels",
      site: "mlp.hidden",
      projections: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
      width: intermediateSize,
      step: 8, // which kernels like
    },
  ],

  norms: ["input_layernorm", "post_attention_layernorm"],

  positions: (config, start, count) => ropeTable(config.rotation, start, count),

  stages: [
    {
      name: "attention.in",
      advance: ({ x }, block) => ({ x, input: norm(x, "input_layernorm", block) }), // t x d
    },
    {
      name: "attention.out",
      advance: ({ x, input }, block) => ({ x, input: attention(input, block) }), // t x (h e)
    },
    {
      name: "mlp.in",
      advance({ x, input }, block) {
        const y = x.add(linear(input, weight(block, "self_attn.o_proj"))); // t x d
        return { x: y, input: norm(y, "post_attention_layernorm", block) }; // t x d
      },
    },
    {
      name: "mlp.hidden",
      advance({ x, input }, block) {
        const [gate, up] = project(input, block, "mlp.gate_proj", "mlp.up_proj"); // t x f
        return { x, input: swiglu(gate, up) }; // t x f
      },
    },
  ],

  leave: ({ x, input }, block) => x.add(linear(input, weight(block, "mlp.down_proj"))), // t x d
};

/** transformers: mistral always slides when a window is given; llama never does. */
function slidingWindow(json: Json): { slidingWindow?: number } {
  if (json.sliding_window === null || json.sliding_window === undefined) return {};
  return { slidingWindow: positive(json, "sliding_window") };
}

function weight({ weights }: Block<LlamaConfig>, name: string): Linear {
  return weights.linears.get(name) as Linear;
}

/** What projections of one input put out. */
function project<N extends readonly string[]>(x: Tensor, block: Block<LlamaConfig>, ...names: N): { [I in keyof N]: Tensor } {
  return linears(
    x,
    names.map((name) => weight(block, name)),
  ) as { [I in keyof N]: Tensor };
}

function norm(x: Tensor, name: string, { weights, config }: Block<LlamaConfig>): Tensor {
  return rmsNorm(x, weights.vectors.get(name) as Tensor, config.normEps);
}

function attention(x: Tensor, block: Block<LlamaConfig>): Tensor {
  const { config, run } = block;
  const { query, keyValue, dim } = config.heads;
  const [q, k, v] = project(x, block, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj");
  // t x (h e), t x (g e) and t x (g e'), e' = e but in a narrower block
  return attend(rotate(q, block), rotate(k, block), v, run, {
    queryHeads: query,
    keyValueHeads: keyValue,
    scale: 1 / Math.sqrt(dim),
    ...(config.slidingWindow === undefined ? {} : { window: config.slidingWindow }),
  });
}

/** Turns each head by its position; where heads kept some rotary pairs only, each group of heads by the angles of its own. */
function rotate(x: Tensor, { weights: { ropePairs }, run: { positions } }: Block): Tensor {
  if (!ropePairs) return rope(x, positions);
  return scope(() => {
    const width = x.columns / ropePairs.length;
    const groups = ropePairs.map((pairs, group) => {
      const table = { cos: positions.cos.selectColumns(pairs), sin: positions.sin.selectColumns(pairs) };
      return rope(x.columnRange(group * width, (group + 1) * width).contiguous(), table);
    });
    return hcat(...groups);
  });
}

/** @throws ConfigError where a narrower block's heads contradict the others, or its rotary pairs their number. */
function checkNarrowBlocks({ widths, ropePairs }: ModelConfig, keyValue: number, dim: number): void {
  for (const [block, { queryKey = dim, value = dim }] of widths) {
    const at = `block_widths of block ${block}`;
    if (queryKey % 2 !== 0 || queryKey > dim)
      throw new ConfigError(at, `qk_head_dim must be even and at most ${dim}, got ${queryKey}`);
    if (value > dim) throw new ConfigError(at, `v_head_dim must be at most ${dim}, got ${value}`);
    const pairs = ropePairs.get(block) ?? [];
    const fits = pairs.length === keyValue && pairs.every((own) => own.length === queryKey / 2 && own.every((i) => i < dim / 2));
    if (queryKey < dim && !fits)
      throw new ConfigError(
        "block_rope_pairs",
        `block ${block} must list ${queryKey / 2} of ${dim / 2} pairs for ${keyValue} heads`,
      );
  }
}
