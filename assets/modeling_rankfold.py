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
    "block_widths": {"0": {"intermediate_size": 400}, ...}    blocks narrower than the config says

Tensors: `<projection>.left.weight` (m x k), `<projection>.right.weight` (k x n) and, where there is a bias,
`<projection>.left.bias` (m); dense projections keep `<projection>.weight` and `<projection>.bias`.
"""

import copy

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


class LowRankLinear(nn.Module):
    """y = left (right x) + bias, with rank k instead of m x n weights."""

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.right = nn.Linear(in_features, rank, bias=False)  # k x n
        self.left = nn.Linear(rank, out_features, bias=bias)  # m x k, and m

    def forward(self, x):
        return self.left(self.right(x))


def narrow_blocks(base: nn.Module, config) -> None:
    """Gives the blocks that the config lists their own widths."""
    for block, widths in (getattr(config, "block_widths", None) or {}).items():
        unknown = set(widths) - {"intermediate_size"}
        if unknown:
            raise ValueError(f"block_widths of block {block}: this file knows intermediate_size, not {sorted(unknown)}")
        layer = base.layers[int(block)]
        narrow = copy.copy(config)
        narrow.intermediate_size = widths["intermediate_size"]
        layer.mlp = type(layer.mlp)(narrow)


def factor_projections(base: nn.Module, config) -> None:
    """Replaces the projections that the config gives a rank by low-rank ones, and adds the biases that it lists."""
    ranks = getattr(config, "projection_ranks", None) or {}
    biases = set(getattr(config, "projection_biases", None) or ())
    for name in sorted(biases | ranks.keys()):
        block, _, child = name.removeprefix("model.").rpartition(".")
        parent = base.get_submodule(block)
        dense = getattr(parent, child)
        m, n, bias = dense.out_features, dense.in_features, dense.bias is not None or name in biases
        setattr(parent, child, LowRankLinear(n, m, ranks[name], bias) if name in ranks else nn.Linear(n, m, bias=bias))


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
