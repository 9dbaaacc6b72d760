/** Tensor names of the llama architecture: GGUF's on the left, Hugging Face's on the right. */

const WHOLE_MODEL: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

const IN_BLOCK: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Holds rope factors, which belong to the config; see `ropeScaling`. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** The Hugging Face name, or undefined for a tensor that the architecture does not have. */
export function huggingFaceName(name: string): string | undefined {
  if (Object.hasOwn(WHOLE_MODEL, name)) return WHOLE_MODEL[name];
  const [, block, part = "", kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  return Object.hasOwn(IN_BLOCK, part) ? `model.layers.${block}.${IN_BLOCK[part]}.${kind}` : undefined;
}
