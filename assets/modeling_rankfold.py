"""Loads a model folder written by rankfold with transformers (4.57 or 5) and `trust_remote_code=True`.

The folder holds a Llama-like model some of whose projections W (m x n) are stored as two thin ones, W ~ left right. Beyond
the original keys its config.json says (a family's names are those of its original classes with "Rankfold" before them):

    "model_type": "rankfold_llama"
    "architectures": ["RankfoldLlamaForCausalLM"]
    "auto_map": {"AutoConfig": "modeling_rankfold.RankfoldLlamaConfig",
                 "AutoModel": "modeling_rankfold.RankfoldLlamaModel",
                 "AutoModelForCausalLM": "modeling_rankfold.RankfoldLlamaForCausalLM"}
    "projection_ranks": {"model.layers.0.self_attn.q_proj": 115, ...}    the rest is dense
    "projection_biases": ["model.layers.0.self_attn.q_proj", ...]    those that compression gave a bias
    "projection_shared_rights": {"model.layers.0.mlp.up_proj": "model.layers.0.mlp.gate_proj", ...}    those that read the
                                                                                    right factor of another
    "block_widths": {"0": {"intermediate_size": 400, "qk_head_dim": 48, "v_head_dim": 40}, ...}    blocks narrower than the
                                                                                    config says; what is absent is whole
    "block_rope_pairs": {"0": [[0, 2, 5, ...], ...], ...}    the rotary pairs that each key/value head keeps, and the query
                                                             heads that share it, where qk_head_dim is smaller

Tensors: `<projection>.left.weight` (m x k), `<projection>.right.weight` (k x n) and, where there is a bias,
`<projection>.left.bias` (m); dense projections keep `<projection>.weight` and `<projection>.bias`.
"""

import copy

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward


class LowRankLinear(nn.Module):
    """y = left (right x) + bias, with rank k instead of m x n weights. The right factor may be that of another projection."""

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool, owner: "LowRankLinear | None" = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        if owner is None:
            self.right = nn.Linear(in_features, rank, bias=False)  # k x n
        self.owner = (owner or self,)  # a tuple, so that the factor is in the model once
        self.left = nn.Linear(rank, out_features, bias=bias)  # m x k, and m

    def forward(self, x):
        return self.left(self.owner[0].right(x))


def rotate_pairs(x, cos, sin):
    """Turns the pairs (i, i + p) of heads of 2 p values, b x heads x s x 2p, by angles of each group of heads, b x g x s x p."""
    cos, sin = (table.repeat_interleave(x.shape[1] // table.shape[1], dim=1) for table in (cos, sin))
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class NarrowAttention:
    """The forward pass of a family's attention with heads of other sizes; before the family's class in a class of its own."""

    def narrow(self, widths: dict, pairs: list | None) -> None:
        config, q, k, v, o = self.config, self.q_proj, self.k_proj, self.v_proj, self.o_proj
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        # The scaling stays that of the whole heads.
        self.key_dim, self.value_dim = (widths.get(name, self.head_dim) for name in ("qk_head_dim", "v_head_dim"))
        self.pairs = pairs or [list(range(self.head_dim // 2))] * groups
        self.q_proj = nn.Linear(q.in_features, heads * self.key_dim, bias=q.bias is not None)
        self.k_proj = nn.Linear(k.in_features, groups * self.key_dim, bias=k.bias is not None)
        self.v_proj = nn.Linear(v.in_features, groups * self.value_dim, bias=v.bias is not None)
        self.o_proj = nn.Linear(heads * self.value_dim, o.out_features, bias=o.bias is not None)

    def forward(self, hidden_states, position_embeddings, attention_mask=None, past_key_values=None, **kwargs):
        shape = hidden_states.shape[:-1]
        q, k = (project(hidden_states).view(*shape, -1, self.key_dim).transpose(1, 2) for project in (self.q_proj, self.k_proj))
        v = self.v_proj(hidden_states).view(*shape, -1, self.value_dim).transpose(1, 2)  # b x g x s x e'
        pairs = torch.tensor(self.pairs, device=q.device)  # g x p
        cos, sin = (table[..., pairs].transpose(1, 2) for table in position_embeddings)  # b x g x s x p
        q, k = rotate_pairs(q, cos, sin), rotate_pairs(k, cos, sin)
        if past_key_values is not None:
            cache_position = {"cache_position": kwargs["cache_position"]} if "cache_position" in kwargs else {}
            k, v = past_key_values.update(k, v, self.layer_idx, cache_position)
        name = self.config._attn_implementation
        attend = eager_attention_forward if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
        options = {"dropout": self.attention_dropout if self.training else 0.0, "scaling": self.scaling, **kwargs}
        window = self.sliding_window if hasattr(self, "sliding_window") else getattr(self.config, "sliding_window", None)
        mixed, weights = attend(self, q, k, v, attention_mask, sliding_window=window, **options)
        return self.o_proj(mixed.reshape(*shape, -1).contiguous()), weights


def narrow_blocks(base: nn.Module, config) -> None:
    """Gives the blocks that the config lists their own widths."""
    pairs = getattr(config, "block_rope_pairs", None) or {}
    for block, widths in (getattr(config, "block_widths", None) or {}).items():
        unknown = set(widths) - {"intermediate_size", "qk_head_dim", "v_head_dim"}
        if unknown:
            raise ValueError(f"block_widths of block {block}: this file knows MLPs and heads, not {sorted(unknown)}")
        layer = base.layers[int(block)]
        if "intermediate_size" in widths:
            narrow = copy.copy(config)
            narrow.intermediate_size = widths["intermediate_size"]
            layer.mlp = type(layer.mlp)(narrow)
        if widths.keys() & {"qk_head_dim", "v_head_dim"}:
            family = type(layer.self_attn)
            layer.self_attn.__class__ = type(f"Narrow{family.__name__}", (NarrowAttention, family), {})
            layer.self_attn.narrow(widths, pairs.get(block))


def factor_projections(base: nn.Module, config) -> None:
    """Replaces the projections that the config gives a rank by low-rank ones, and adds the biases that it lists."""
    ranks = getattr(config, "projection_ranks", None) or {}
    biases = set(getattr(config, "projection_biases", None) or ())
    shared = getattr(config, "projection_shared_rights", None) or {}
    for name in sorted(biases | ranks.keys(), key=lambda name: (name in shared, name)):
        block, _, child = name.removeprefix("model.").rpartition(".")
        parent = base.get_submodule(block)
        dense = getattr(parent, child)
        m, n, bias = dense.out_features, dense.in_features, dense.bias is not None or name in biases
        owner = base.get_submodule(shared[name].removeprefix("model.")) if name in shared else None
        setattr(parent, child, LowRankLinear(n, m, ranks[name], bias, owner) if name in ranks else nn.Linear(n, m, bias=bias))


class RankfoldConfigMixin:
    # Shards of heads and of ranks would not fit together: every tensor-parallel worker holds all of a projection.
    base_model_tp_plan = None

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Transformers 5 writes `rope_parameters`, which 4 ignores without a word; 5 reads the keys of 4."""
        config_dict = dict(config_dict)
        rope = dict(config_dict.pop("rope_parameters", None) or {})
        if "rope_theta" in rope:
            config_dict["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type", "default") != "default":
            config_dict["rope_scaling"] = rope
        return super().from_dict(config_dict, **kwargs)


class RankfoldMixin:
    """Reshapes the base model before `post_init` counts, plans and initialises what is in it."""

    _supports_attention_backend = True

    def post_init(self):
        narrow_blocks(self.base_model, self.config)
        factor_projections(self.base_model, self.config)
        super().post_init()


class RankfoldLlamaConfig(RankfoldConfigMixin, LlamaConfig):
    model_type = "rankfold_llama"


class RankfoldLlamaModel(RankfoldMixin, LlamaModel):
    config_class = RankfoldLlamaConfig


class RankfoldLlamaForCausalLM(RankfoldMixin, LlamaForCausalLM):
    config_class = RankfoldLlamaConfig


class RankfoldMistralConfig(RankfoldConfigMixin, MistralConfig):
    model_type = "rankfold_mistral"


class RankfoldMistralModel(RankfoldMixin, MistralModel):
    config_class = RankfoldMistralConfig


class RankfoldMistralForCausalLM(RankfoldMixin, MistralForCausalLM):
    config_class = RankfoldMistralConfig


class RankfoldQwen2Config(RankfoldConfigMixin, Qwen2Config):
    model_type = "rankfold_qwen2"


class RankfoldQwen2Model(RankfoldMixin, Qwen2Model):
    config_class = RankfoldQwen2Config


class RankfoldQwen2ForCausalLM(RankfoldMixin, Qwen2ForCausalLM):
    config_class = RankfoldQwen2Config


# `save_pretrained` then copies this file beside the weights, however the model was made.
for family in ("Llama", "Mistral", "Qwen2"):
    globals()[f"Rankfold{family}Config"].register_for_auto_class("AutoConfig")
    globals()[f"Rankfold{family}Model"].register_for_auto_class("AutoModel")
    globals()[f"Rankfold{family}ForCausalLM"].register_for_auto_class("AutoModelForCausalLM")
