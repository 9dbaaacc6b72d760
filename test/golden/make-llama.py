"""Makes the golden Llama-family models of test/golden/llama: small, random, with the logits that `transformers` gives.

    python make-llama.py            writes every case
    python make-llama.py --check    makes the models again in memory, compares them with the committed bytes, and recomputes
                                    the logits from the committed folders

Needs torch, transformers 5 (4 does not read `rope_parameters`) and safetensors. A case is a folder that holds

    config.json, model*.safetensors[, model.safetensors.index.json]    the model, as one finds it on a hub
    input.json     {"sequences": [[token, ...], ...]}, of equal length, no padding
    logits.bin     float32, little endian, sequences x tokens x vocabulary; computed in float32 with eager attention

The widths are awkward on purpose (no multiple of a vector register), and the weights larger than any initialisation, so
that a wrong rotation, mask, bias or head order moves the logits by far more than rounding does.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from transformers import AutoModelForCausalLM

FOLDER = Path(__file__).parent / "llama"
SEQUENCES, TOKENS = 2, 24
LOGIT_TOLERANCE = 2e-5  # processors and releases differ in the order of float32 sums; logits are of size 1

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 18,
    "intermediate_size": 29,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "hidden_act": "silu",
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}  # heads of 4, two queries for each key

# A small base, so that frequencies fall on both sides of the bounds of the scaling rules within 24 tokens.
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def dialect4(theta=10000.0, scaling=None, dtype="float32"):
    """Rotary and dtype keys as transformers 4 writes them."""
    return {"rope_theta": theta, "rope_scaling": scaling, "torch_dtype": dtype, "transformers_version": "4.46.3"}


def dialect5(theta=10000.0, scaling=None, dtype="float32"):
    """The same keys as transformers 5 writes them."""
    parameters = {"rope_theta": theta, **(scaling or {"rope_type": "default"})}
    return {"rope_parameters": parameters, "dtype": dtype, "transformers_version": "5.0.0"}


# name -> (config, options of the weights). Cases with the same seed have the same weights.
CASES = {
    "mha-tied": ({**BASE, **dialect5(), "tie_word_embeddings": True}, {"seed": 1}),
    "gqa-untied": ({**BASE, **GROUPED, **dialect4()}, {"seed": 2}),
    "rope-llama3": ({**BASE, **dialect5(500.0, LLAMA3)}, {"seed": 3}),
    "rope-llama3-dialect4": ({**BASE, **dialect4(500.0, LLAMA3)}, {"seed": 3}),
    "rope-linear": ({**BASE, **dialect4(500.0, {"type": "linear", "factor": 4.0})}, {"seed": 3}),
    "rope-yarn": ({**BASE, **dialect5(500.0, YARN)}, {"seed": 3}),
    "mistral-window": (
        {**BASE, **GROUPED, **dialect5(), "architectures": ["MistralForCausalLM"], "model_type": "mistral",
         "sliding_window": 7},
        {"seed": 4},
    ),
    "biases": ({**BASE, **dialect5(), "attention_bias": True, "mlp_bias": True}, {"seed": 5}),
    "head-dim": ({**BASE, **dialect5(), **GROUPED, "head_dim": 6}, {"seed": 6}),
    "sharded": ({**BASE, **GROUPED, **dialect5()}, {"seed": 7, "shards": 3}),
    "bf16": ({**BASE, **GROUPED, **dialect4(dtype="bfloat16")}, {"seed": 8, "dtype": torch.bfloat16}),
    "f16": ({**BASE, **GROUPED, **dialect5(dtype="float16")}, {"seed": 9, "dtype": torch.float16}),
}

# What must matter: the same weights under these keys must give other logits, or the case proves nothing.
NEUTRAL = {
    "rope-llama3": dialect5(500.0),
    "rope-llama3-dialect4": dialect4(500.0),
    "rope-linear": dialect4(500.0),
    "rope-yarn": dialect5(500.0),
    "mistral-window": {"sliding_window": None},
}


def shapes(config):
    """Name -> shape of every tensor of the checkpoint."""
    d, f = config["hidden_size"], config["intermediate_size"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    e = config.get("head_dim", d // heads)
    projections = {
        "self_attn.q_proj": (heads * e, d), "self_attn.k_proj": (groups * e, d), "self_attn.v_proj": (groups * e, d),
        "self_attn.o_proj": (d, heads * e), "mlp.gate_proj": (f, d), "mlp.up_proj": (f, d), "mlp.down_proj": (d, f),
    }
    found = {"model.embed_tokens.weight": (config["vocab_size"], d)}
    for block in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{block}."
        for name, (m, n) in projections.items():
            found[f"{prefix}{name}.weight"] = (m, n)
            if config.get("attention_bias" if name.startswith("self") else "mlp_bias"):
                found[f"{prefix}{name}.bias"] = (m,)
        found[f"{prefix}input_layernorm.weight"] = found[f"{prefix}post_attention_layernorm.weight"] = (d,)
    found["model.norm.weight"] = (d,)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (config["vocab_size"], d)
    return found


def weights(config, seed, dtype=torch.float32):
    """Random tensors; projections keep the size of what passes through them, queries and keys make attention uneven."""
    random = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes(config).items():
        value = random.standard_normal(shape)
        if "norm" in name:
            value = 1 + 0.3 * value
        elif name.endswith(".bias"):
            value = 0.5 * value
        else:
            value *= (1.7 if "q_proj" in name or "k_proj" in name else 1.0) / np.sqrt(shape[-1])
        made[name] = torch.from_numpy(value.astype(np.float32)).to(dtype)
    return made


def model_files(config, seed, dtype=torch.float32, shards=1):
    """File name -> bytes of a model folder."""
    tensors = weights(config, seed, dtype)
    files = {"config.json": json.dumps(config, indent=2) + "\n"}
    if shards == 1:
        files["model.safetensors"] = save(tensors, {"format": "pt"})
    else:
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        where = {name: names[i * shards // len(tensors)] for i, name in enumerate(tensors)}
        for file in names:
            files[file] = save({name: tensors[name] for name in tensors if where[name] == file}, {"format": "pt"})
        size = sum(t.nbytes for t in tensors.values())
        files["model.safetensors.index.json"] = json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2) + "\n"
    random = np.random.default_rng(1000 + seed)
    files["input.json"] = json.dumps({"sequences": random.integers(0, config["vocab_size"], (SEQUENCES, TOKENS)).tolist()}) + "\n"
    return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}


@torch.no_grad()
def logits(folder, changes=None):
    """Sequences x tokens x vocabulary, float32. `changes` replace keys of the config."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if changes:
        config = type(model.config).from_dict({**json.loads((folder / "config.json").read_text()), **changes})
        config._attn_implementation = "eager"
        state, model = model.state_dict(), type(model)(config)
        model.load_state_dict(state)
    sequences = json.loads((folder / "input.json").read_text())["sequences"]
    return model.eval()(torch.tensor(sequences), use_cache=False).logits.numpy()


def write(name):
    config, options = CASES[name]
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for file, content in model_files(config, **options).items():
        (folder / file).write_bytes(content)
    found = logits(folder)
    (folder / "logits.bin").write_bytes(found.astype("<f4").tobytes())
    return found


def check(name):
    """@raises AssertionError naming what differs from the committed case."""
    config, options = CASES[name]
    folder = FOLDER / name
    for file, content in model_files(config, **options).items():
        committed = (folder / file).read_bytes()
        if file.endswith(".safetensors"):  # the order of a header is the library's own affair
            committed, content = ({k: v.tolist() for k, v in load(data).items()} for data in (committed, content))
        assert committed == content, f"{name}/{file}: made again, it differs"
    expected = np.frombuffer((folder / "logits.bin").read_bytes(), "<f4")
    found = logits(folder)
    error = np.abs(found.ravel() - expected).max()
    assert error < LOGIT_TOLERANCE, f"{name}: logits differ by {error:.2e}, expected below {LOGIT_TOLERANCE}"
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files; write nothing")
    parser.add_argument("cases", nargs="*", help="default: all")
    options = parser.parse_args()
    for name in options.cases or CASES:
        found = (check if options.check else write)(name)
        line = f"{name:22} std {found.std():.2f}  max {np.abs(found).max():.2f}"
        if name in NEUTRAL:
            moved = np.abs(logits(FOLDER / name, NEUTRAL[name]) - found).max()
            assert moved > 0.05, f"{name}: without its special keys the logits move by {moved:.1e} only"
            line += f"  without its special keys: moves {moved:.2f}"
        print(line)


if __name__ == "__main__":
    sys.exit(main())
