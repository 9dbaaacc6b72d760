"""Holds assets/modeling_rankfold.py against transformers' own classes. Needs torch, transformers (4.57 or 5), safetensors.

    python test_modeling.py                                  the self-test: factored copies of test/golden/llama
    python test_modeling.py FOLDER [--logits FILE --input FILE]    a folder that rankfold wrote: it loads, saves, reloads and
                                                             generates; with --logits, its logits are those of the file

FILE is as in test/golden/llama: logits.bin (float32 little endian), input.json ({"sequences": [[token, ...], ...]}).
Exit code 0 and a line for each claim that holds; an AssertionError names the one that does not.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

SCRATCH = Path(tempfile.mkdtemp(prefix="rankfold-modeling-"))
os.environ.update(HF_MODULES_CACHE=str(SCRATCH / "modules"), HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test/golden/llama"
MODELING = ROOT / "assets/modeling_rankfold.py"
TOLERANCE = 1e-4  # float32 sums in another order; logits are of size 1


# --- reading --------------------------------------------------------------------------------------------------------


def load(folder, auto=AutoModelForCausalLM, attention="sdpa", dtype=torch.float32):
    """The model in a folder, by its own code; every tensor of the file must be used and none left random."""
    model, info = auto.from_pretrained(
        folder, trust_remote_code=True, dtype=dtype, attn_implementation=attention, output_loading_info=True
    )
    expected_extra = {"lm_head.weight"} if auto is AutoModel else set()
    assert not info["missing_keys"], f"{folder.name}: no tensor for {info['missing_keys']}"
    assert set(info["unexpected_keys"]) <= expected_extra, f"{folder.name}: unused tensors {info['unexpected_keys']}"
    assert not info["mismatched_keys"], f"{folder.name}: shapes differ for {info['mismatched_keys']}"
    return model.eval()


def sequences(file):
    return torch.tensor(json.loads(file.read_text())["sequences"])


@torch.no_grad()
def logits(model, tokens):
    return model(tokens, use_cache=False).logits.float()


def golden_logits(file, tokens):
    values = torch.from_numpy(np.frombuffer(file.read_bytes(), "<f4").copy())
    return values.reshape(*tokens.shape, -1)


def assert_close(found, expected, claim, tolerance=TOLERANCE):
    error = (found - expected).abs().max().item()
    assert error < tolerance, f"{claim}: differs by {error:.2e}, expected below {tolerance}"


# --- making ---------------------------------------------------------------------------------------------------------


def tensors_of(folder):
    return {name: t.float() for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def projections_of(tensors):
    return [name.removesuffix(".weight") for name in tensors if name.endswith("_proj.weight")]


def write_rankfold(folder, config, tensors, ranks, biases=(), widths=None, pairs=None, shared=None):
    """A folder as `rankfold compress` writes it."""
    folder.mkdir(parents=True)
    [architecture] = config["architectures"]
    family = f"Rankfold{architecture.removesuffix('ForCausalLM')}"
    classes = {"AutoConfig": "Config", "AutoModel": "Model", "AutoModelForCausalLM": "ForCausalLM"}
    config = {
        **config,
        "model_type": f"rankfold_{config['model_type']}",
        "architectures": [f"{family}ForCausalLM"],
        "auto_map": {auto: f"modeling_rankfold.{family}{suffix}" for auto, suffix in classes.items()},
        "projection_ranks": ranks,
        "projection_biases": list(biases),
        **({"projection_shared_rights": shared} if shared else {}),
        **({"block_widths": widths} if widths else {}),
        **({"block_rope_pairs": pairs} if pairs else {}),
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    shutil.copy(MODELING, folder)


def factored(tensors, ranks, biases=None):
    """The tensors with some projections factored by SVD, and some given a bias."""
    found = dict(tensors)
    for name, k in ranks.items():
        U, s, Vt = torch.linalg.svd(found.pop(f"{name}.weight").double(), full_matrices=False)
        found[f"{name}.left.weight"], found[f"{name}.right.weight"] = (U[:, :k] * s[:k]).float(), Vt[:k].float()
        if f"{name}.bias" in found:
            found[f"{name}.left.bias"] = found.pop(f"{name}.bias")
    for name, bias in (biases or {}).items():
        found[f"{name}.left.bias" if name in ranks else f"{name}.bias"] = bias
    return found


def multiplied(tensors, ranks):
    """The same function as dense weights: left right in place of W."""
    found = dict(tensors)
    for name in ranks:
        found[f"{name}.weight"] = found.pop(f"{name}.left.weight") @ found.pop(f"{name}.right.weight")
        if f"{name}.left.bias" in found:
            found[f"{name}.bias"] = found.pop(f"{name}.left.bias")
    return found


def stock_logits(config, tensors, tokens):
    """By transformers' own class, from dense tensors."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), tokens)


# --- claims ---------------------------------------------------------------------------------------------------------


def full_rank_gives_the_golden_logits(case):
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    ranks = {name: min(tensors[f"{name}.weight"].shape) for name in projections_of(tensors)}
    folder = SCRATCH / f"full_{case.name}".replace("-", "_")
    write_rankfold(folder, config, factored(tensors, ranks), ranks)
    tokens = sequences(case / "input.json")
    for attention in ("sdpa", "eager"):
        found = logits(load(folder, attention=attention), tokens)
        assert_close(found, golden_logits(case / "logits.bin", tokens), f"{case.name} at full rank with {attention}")
    return folder


def truncated_is_the_dense_product(case):
    """Every rank there is, three projections left dense."""
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    ranks = {name: 1 + i % min(tensors[f"{name}.weight"].shape) for i, name in enumerate(projections_of(tensors)) if i % 5}
    cut = factored(tensors, ranks)
    folder = SCRATCH / f"cut_{case.name}".replace("-", "_")
    write_rankfold(folder, config, cut, ranks)
    tokens = sequences(case / "input.json")
    found, dense = logits(load(folder), tokens), golden_logits(case / "logits.bin", tokens)
    assert_close(found, stock_logits(dialect(config), multiplied(cut, ranks), tokens), f"{case.name} truncated")
    assert (found - dense).abs().max() > 0.1, f"{case.name}: truncation changed nothing"
    return folder


def dialect(config):
    """The config in the words of this transformers."""
    if reads_rope_parameters() or "rope_parameters" not in config:
        return config
    rope = config["rope_parameters"]
    return {**config, "rope_theta": rope["rope_theta"], "rope_scaling": None if rope["rope_type"] == "default" else rope}


def reads_rope_parameters():
    return int(transformers.__version__.split(".")[0]) >= 5


def added_biases_are_added():
    case = GOLDEN / "gqa-untied"
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    names = projections_of(tensors)
    ranks = {name: 3 for name in names[::2]}
    given = {name: torch.linspace(-1, 1, len(tensors[f"{name}.weight"])) for name in names[::3]}
    both = factored(tensors, ranks, given)
    folder = SCRATCH / "added_biases"
    write_rankfold(folder, config, both, ranks, biases=given)
    everywhere = {f"{name}.bias": torch.zeros(len(tensors[f"{name}.weight"])) for name in names}
    expected = {**everywhere, **multiplied(both, ranks)}
    tokens = sequences(case / "input.json")
    found = logits(load(folder), tokens)
    assert_close(found, stock_logits({**config, "attention_bias": True, "mlp_bias": True}, expected, tokens), "added biases")
    return folder


def right_factors_are_shared():
    """Gate and up by the joint SVD of both, the right factor stored with gate."""
    case = GOLDEN / "gqa-untied"
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    gates = [name for name in projections_of(tensors) if name.endswith("gate_proj")]
    ranks, shared, cut, dense = {}, {}, dict(tensors), dict(tensors)
    for gate in gates:
        up = gate.replace("gate", "up")
        stack = torch.cat([cut.pop(f"{name}.weight") for name in (gate, up)])
        U, s, Vt = torch.linalg.svd(stack.double(), full_matrices=False)
        left, right = (U[:, :5] * s[:5]).float(), Vt[:5].float()
        cut[f"{gate}.right.weight"] = right
        for name, own in zip((gate, up), left.chunk(2)):
            cut[f"{name}.left.weight"], dense[f"{name}.weight"] = own, own @ right
            ranks[name] = 5
        shared[up] = gate
    folder = SCRATCH / "shared_rights"
    write_rankfold(folder, config, cut, ranks, shared=shared)
    tokens = sequences(case / "input.json")
    assert_close(logits(load(folder), tokens), stock_logits(config, dense, tokens), "shared right factors")
    return folder


def narrow_blocks_drop_channels():
    case = GOLDEN / "mha-tied"
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    kept = torch.arange(0, config["intermediate_size"], 2)
    narrow, zeroed = dict(tensors), dict(tensors)
    for name, axis in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
        key = f"model.layers.1.mlp.{name}.weight"
        narrow[key] = tensors[key].index_select(axis, kept)
        zeroed[key] = torch.zeros_like(tensors[key]).index_copy_(axis, kept, narrow[key])
    ranks = {"model.layers.1.mlp.up_proj": 15, "model.layers.0.mlp.up_proj": 18}
    folder = SCRATCH / "narrow"
    write_rankfold(folder, config, factored(narrow, ranks), ranks, widths={"1": {"intermediate_size": len(kept)}})
    tokens = sequences(case / "input.json")
    assert_close(logits(load(folder), tokens), stock_logits(config, zeroed, tokens), "a narrow block")
    return folder


def narrow_heads_drop_pairs_and_values(case):
    """Query and key heads of two pairs that differ between groups, value heads of two values, in the second block."""
    config, tensors = json.loads((case / "config.json").read_text()), tensors_of(case)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    kept = max(1, dim // 2 - 1)
    pairs = [sorted((i + g) % (dim // 2) for i in range(kept)) for g in range(groups)]

    def rows(count, of_head):
        return torch.tensor([h * dim + i for h in range(count) for i in of_head(h * groups // count)])

    both = lambda g: pairs[g] + [i + dim // 2 for i in pairs[g]]
    first = lambda g: list(range(2))
    places = {
        "q_proj": (0, rows(heads, both)),
        "k_proj": (0, rows(groups, both)),
        "v_proj": (0, rows(groups, first)),
        "o_proj": (1, rows(heads, first)),
    }
    narrow, zeroed = dict(tensors), dict(tensors)
    for name, (axis, index) in places.items():
        for part in ("weight", "bias"):
            key = f"model.layers.1.self_attn.{name}.{part}"
            if key in tensors and not (part == "bias" and axis == 1):
                narrow[key] = tensors[key].index_select(axis, index)
                zeroed[key] = torch.zeros_like(tensors[key]).index_copy_(axis, index, narrow[key])
    factored_ones = [f"model.layers.1.self_attn.{name}" for name in ("q_proj", "o_proj")]
    full = {name: min(narrow[f"{name}.weight"].shape) for name in factored_ones}
    folder = SCRATCH / f"narrow_heads_{case.name}".replace("-", "_")
    widths = {"1": {"qk_head_dim": 2 * kept, "v_head_dim": 2}}
    write_rankfold(folder, config, factored(narrow, full), full, widths=widths, pairs={"1": pairs})
    tokens = sequences(case / "input.json")
    expected = stock_logits(dialect(config), zeroed, tokens)
    for attention in ("sdpa", "eager"):
        assert_close(logits(load(folder, attention=attention), tokens), expected, f"narrow heads of {case.name} with {attention}")
    return folder


def qwen2_family_loads():
    """No golden case: transformers' own random model is the reference. Its q, k and v have biases."""
    config = {**json.loads((GOLDEN / "rope-llama3-dialect4/config.json").read_text()), "rope_scaling": None,
              "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    biases = ("q_proj.bias", "k_proj.bias", "v_proj.bias")
    tensors = {n: t for n, t in tensors_of(GOLDEN / "biases").items() if not n.endswith(".bias") or n.endswith(biases)}
    ranks = {name: min(tensors[f"{name}.weight"].shape) for name in projections_of(tensors)}
    folder = SCRATCH / "qwen2"
    write_rankfold(folder, config, factored(tensors, ranks), ranks)
    tokens = sequences(GOLDEN / "biases/input.json")
    assert_close(logits(load(folder), tokens), stock_logits(config, tensors, tokens), "qwen2")
    return folder


def never_a_stock_class(folder):
    try:
        AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    except ValueError:
        return
    raise AssertionError(f"{folder.name}: loaded without its own code, so with random weights")


@torch.no_grad()
def auto_model_is_the_base(folder, tokens):
    found = load(folder, AutoModel)(tokens).last_hidden_state
    expected = load(folder).model(tokens).last_hidden_state
    assert_close(found, expected, f"{folder.name} by AutoModel")


def saves_and_reloads(folder, tokens):
    model = load(folder)
    again = SCRATCH / f"{folder.name}_again"
    model.save_pretrained(again)
    assert (again / "modeling_rankfold.py").read_bytes() == (folder / "modeling_rankfold.py").read_bytes()
    before, after = (json.loads((f / "config.json").read_text()) for f in (folder, again))
    for key in ("model_type", "architectures", "auto_map", "projection_ranks", "projection_biases", "block_widths", "block_rope_pairs"):
        assert before.get(key) == after.get(key), f"{folder.name}: {key} was {before.get(key)}, saved as {after.get(key)}"
    assert_close(logits(load(again), tokens), logits(model, tokens), f"{folder.name} saved and reloaded", 1e-6)


@torch.no_grad()
def generates_with_its_cache(folder, tokens, new=12):
    model = load(folder)
    prompt = tokens[:1, :8]
    settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    found = model.generate(prompt, attention_mask=torch.ones_like(prompt), use_cache=True, **settings)
    slow = prompt
    for _ in range(new):
        slow = torch.cat([slow, model(slow, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    assert found.tolist() == slow.tolist(), f"{folder.name}: generated {found.tolist()} with the cache, {slow.tolist()} without"


def keeps_its_dtype(folder):
    model = load(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}, "not every parameter is bfloat16"
    assert model.config.model_type.startswith("rankfold_") and AutoConfig.from_pretrained(folder, trust_remote_code=True)


# --- running --------------------------------------------------------------------------------------------------------


def general_claims(folder, tokens):
    never_a_stock_class(folder)
    auto_model_is_the_base(folder, tokens)
    saves_and_reloads(folder, tokens)
    generates_with_its_cache(folder, tokens)
    keeps_its_dtype(folder)


def self_test():
    for case in sorted(path for path in GOLDEN.iterdir() if path.is_dir()):
        full_rank_gives_the_golden_logits(case)
        general_claims(truncated_is_the_dense_product(case), sequences(case / "input.json"))
        general_claims(narrow_heads_drop_pairs_and_values(case), sequences(case / "input.json"))
        print(f"ok {case.name}")
    for claim in (added_biases_are_added, right_factors_are_shared, narrow_blocks_drop_channels, qwen2_family_loads):
        general_claims(claim(), sequences(GOLDEN / "mha-tied/input.json"))
        print(f"ok {claim.__name__}")


def test_folder(options):
    vocabulary = AutoConfig.from_pretrained(options.folder, trust_remote_code=True).vocab_size
    tokens = sequences(options.input) if options.input else torch.arange(2 * 24).reshape(2, 24) * 7919 % vocabulary
    if options.logits:
        expected = golden_logits(options.logits, tokens)
        assert_close(logits(load(options.folder), tokens), expected, options.folder.name, options.tolerance)
        print("ok logits")
    general_claims(options.folder, tokens)
    print("ok loads, saves, reloads, generates")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="default: the self-test")
    parser.add_argument("--logits", type=Path, help="needs --input")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    options = parser.parse_args()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    try:
        test_folder(options) if options.folder else self_test()
    finally:
        shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
