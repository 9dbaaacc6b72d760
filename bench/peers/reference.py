"""What rankfold does, the straightforward way in PyTorch and transformers: the peer that its numbers and times are held against.

    python reference.py perplexity MODEL TEXT --window 1024 --max-windows 20 [--factors FACTORS]
    python reference.py generate MODEL --prompt 512 --tokens 64 [--factors FACTORS]
    python reference.py compress MODEL FACTORS --method svd-llm --keep 0.8 --calibration TEXT

MODEL is a Hugging Face folder or a .gguf file of the llama architecture; FACTORS a safetensors file with
`<projection>.left.weight` (m x k), `<projection>.right.weight` (k x n) and, from `rom`, `<projection>.left.bias` (m).
Each command prints one JSON line. The conventions (windows, ranks, which projections) are rankfold's.

    y = W x + b    W  m x n    C  n x n, sum of x x^T over calibration tokens    mu  n, mean of x    k rank
"""

import argparse
import json
import math
import resource
import time
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
               "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
# One statistic serves all the projections that read the same input: the first of each group is hooked.
SITES = {"self_attn.q_proj": PROJECTIONS[:3], "self_attn.o_proj": PROJECTIONS[3:4],
         "mlp.gate_proj": PROJECTIONS[4:6], "mlp.down_proj": PROJECTIONS[6:]}
BATCH = 8  # calibration windows in one forward pass


class Clock:
    """Seconds by stage: each call books the time since the last one."""

    def __init__(self):
        self.start = self.last = time.perf_counter()
        self.stages = {}

    def book(self, stage):
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.last
        self.last = now

    def report(self):
        return {
            "seconds": round(time.perf_counter() - self.start, 2),
            "stages": {stage: round(seconds, 2) for stage, seconds in self.stages.items()},
            "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts in KiB
            "threads": torch.get_num_threads(),
        }


# --- models ---------------------------------------------------------------------------------------------------------


def load(path):
    """-> (model in float32, tokenizer)"""
    if path.suffix != ".gguf":
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, trust_remote_code=True)
        return model.eval(), AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    return load_gguf(path).eval(), AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


GGUF_NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}


def load_gguf(path):
    reader = gguf.GGUFReader(path)
    meta = lambda key: reader.fields[f"llama.{key}"].contents()
    heads, groups = meta("attention.head_count"), meta("attention.head_count_kv")
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    config = LlamaConfig(
        vocab_size=meta("vocab_size"), hidden_size=meta("embedding_length"), intermediate_size=meta("feed_forward_length"),
        num_hidden_layers=meta("block_count"), num_attention_heads=heads, num_key_value_heads=groups,
        max_position_embeddings=meta("context_length"), rms_norm_eps=meta("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": meta("rope.freq_base")}, tie_word_embeddings=tied,
    )
    state = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        name = tensor.name.removesuffix(".weight")
        if name.endswith("attn_q") or name.endswith("attn_k"):
            weight = unpermute(weight, heads if name.endswith("attn_q") else groups)
        if name.startswith("blk."):
            _, block, name = name.split(".")
            state[f"model.layers.{block}.{GGUF_NAMES[name]}.weight"] = weight
        else:
            state[f"{GGUF_NAMES[name]}.weight"] = weight
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.load_state_dict(state)
    return model


def unpermute(weight, heads):
    """GGUF pairs neighbouring rows for rotation, transformers the two halves of a head: undo that order."""
    m, n = weight.shape
    return weight.reshape(heads, m // heads // 2, 2, n).swapaxes(1, 2).reshape(m, n)


class LowRank(nn.Module):
    def __init__(self, left, right, bias=None):  # m x k, k x n, m
        super().__init__()
        self.left, self.right, self.bias = nn.Parameter(left), nn.Parameter(right), bias

    def forward(self, x):
        return F.linear(F.linear(x, self.right), self.left, self.bias)


def insert_factors(model, factors):
    for name in [key.removesuffix(".left.weight") for key in factors if key.endswith(".left.weight")]:
        replacement = LowRank(*(factors.get(f"{name}.{part}") for part in ("left.weight", "right.weight", "left.bias")))
        model.set_submodule(name, replacement)


# --- texts ----------------------------------------------------------------------------------------------------------


def tokens_of(file, tokenizer):
    """The whole text at once, without special tokens."""
    return torch.tensor(tokenizer(file.read_text("utf-8"), add_special_tokens=False, verbose=False).input_ids)


def calibration_windows(tokens, samples, window):
    """samples x window; sample i of N is window floor(i B / N) of B."""
    available = len(tokens) // window
    assert available >= samples, f"the calibration text has {available} windows of {window} tokens, expected {samples}"
    return torch.stack([tokens[w * window : (w + 1) * window] for w in (i * available // samples for i in range(samples))])


# --- perplexity -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def perplexity(options):
    clock = Clock()
    model, tokenizer = load(options.model)
    if options.factors:
        insert_factors(model, load_file(options.factors))
    clock.book("load")
    tokens = tokens_of(options.text, tokenizer)
    clock.book("tokenize")
    windows = tokens[: len(tokens) // options.window * options.window].view(-1, options.window)
    windows = windows[: options.max_windows]
    total = 0.0
    for window in windows:
        logits = model(window[None], use_cache=False).logits[0]
        total += F.cross_entropy(logits[:-1].float(), window[1:], reduction="none").double().sum().item()
    clock.book("forward")
    mean = total / (len(windows) * (options.window - 1))
    assert math.isfinite(mean), "the log-likelihood is not finite"
    return {"model": options.model.name, "text": options.text.name, "tokens": len(tokens), "windows": len(windows),
            "window": options.window, "perplexity": math.exp(mean), "meanNll": mean, **clock.report()}


# --- generation -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def generate(options):
    """Tokens a second of a prompt, the second of two, and of the tokens after it one by one."""
    model, _ = load(options.model)
    if options.factors:
        insert_factors(model, {name: tensor.float() for name, tensor in load_file(options.factors).items()})
    ids = (torch.arange(options.prompt) * 97 % model.config.vocab_size)[None]
    for _ in range(2):
        start = time.perf_counter()
        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        prefill = options.prompt / (time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(options.tokens):
        model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
    return {"model": options.model.name, "prefill": prefill, "decode": options.tokens / (time.perf_counter() - start)}


# --- methods: (W, C, tokens, mu, k) in float64 -> left, right, and a bias or None -----------------------------------


def whitening(C):
    """S with S S^T = C, by Cholesky; a singular C gets the smallest ridge that makes it definite."""
    S, failed = torch.linalg.cholesky_ex(C)
    if failed:
        ridge = 1e-6 * C.diagonal().mean() - min(torch.linalg.eigvalsh(C)[0].item(), 0.0)
        S = torch.linalg.cholesky(C + ridge * torch.eye(len(C), dtype=C.dtype))
    return S


def svd_llm(W, C, tokens, mu, k):
    """Wang et al., arXiv 2403.07378: truncate W S; the singular values are shared between the factors."""
    S = whitening(C)
    U, s, Vt = torch.linalg.svd(W @ S, full_matrices=False)
    root = s[:k].sqrt()
    right = torch.linalg.solve_triangular(S, root[:, None] * Vt[:k], upper=False, left=False)
    return U[:, :k] * root, right, None


def nsvd(W, C, tokens, mu, k, nesting=0.95):
    """Lu et al., arXiv 2503.17101, NSVD-I: most of the rank by svd_llm, the rest on what it left of the weight."""
    k1 = math.floor(nesting * k + 0.5)  # Python's round would send 218.5 to 218
    left, right, _ = svd_llm(W, C, tokens, mu, k1)
    U, s, Vt = torch.linalg.svd(W - left @ right, full_matrices=False)
    return torch.cat([left, U[:, : k - k1] * s[: k - k1]], 1), torch.cat([right, Vt[: k - k1]]), None


def rom(W, C, tokens, mu, k):
    """Chavan et al., arXiv 2312.07046: principal components of the centred outputs, and the bias that makes up for the mean."""
    covariance = W @ (C / tokens - torch.outer(mu, mu)) @ W.T
    U = torch.linalg.eigh(covariance)[1][:, -k:]
    mean = W @ mu
    return U, U.T @ W, mean - U @ (U.T @ mean)


METHODS = {"svd-llm": svd_llm, "nsvd-i": nsvd, "rom": rom}


# --- compress -------------------------------------------------------------------------------------------------------


class Statistics:
    """Gram matrix and sum of an input: float32 within a batch, float64 over batches."""

    def __init__(self, n):
        self.gram, self.sum, self.tokens = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64), 0

    def see(self, module, inputs):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        self.gram += x.T @ x
        self.sum += x.sum(0)
        self.tokens += len(x)


def run_block(block, states, rotary):
    """States after the block, batch by batch; attention is causal when no mask is given."""
    positions = rotary(states[0], torch.arange(states[0].shape[1])[None])
    outputs = [block(x, attention_mask=None, position_embeddings=positions) for x in states]
    return [output[0] if isinstance(output, tuple) else output for output in outputs]


def rank_of(keep, m, n):
    """None where the factors would not be smaller than the weight."""
    rank = math.floor(keep * m * n / (m + n))
    return rank if 0 < rank and rank * (m + n) < m * n else None


def compress_block(block, prefix, statistics, options):
    """-> the tensors of the block's factors; replaces the projections in the block."""
    tensors = {}
    for site, names in SITES.items():
        seen = statistics[site]
        for name in names:
            dense = block.get_submodule(name)
            k = rank_of(options.keep, *dense.weight.shape)
            if k is None:
                continue
            left, right, shift = METHODS[options.method](dense.weight.double(), seen.gram, seen.tokens, seen.sum / seen.tokens, k)
            parts = {"left.weight": left, "right.weight": right}
            if dense.bias is not None or shift is not None:
                parts["left.bias"] = sum(b.double() for b in (dense.bias, shift) if b is not None)
            parts = {part: tensor.float().contiguous() for part, tensor in parts.items()}
            block.set_submodule(name, LowRank(parts["left.weight"], parts["right.weight"], parts.get("left.bias")))
            tensors.update({f"{prefix}.{name}.{part}": tensor for part, tensor in parts.items()})
    return tensors


@torch.inference_mode()
def compress(options):
    clock = Clock()
    model, tokenizer = load(options.model)
    clock.book("load")
    windows = calibration_windows(tokens_of(options.calibration, tokenizer), options.samples, options.window)
    clock.book("tokenize")
    states = [model.model.embed_tokens(batch) for batch in windows.split(BATCH)]
    factors = {}
    for index, block in enumerate(model.model.layers):
        statistics = {site: Statistics(block.get_submodule(site).in_features) for site in SITES}
        hooks = [block.get_submodule(site).register_forward_pre_hook(statistics[site].see) for site in SITES]
        after = run_block(block, states, model.model.rotary_emb)
        for hook in hooks:
            hook.remove()
        clock.book("forward")  # the Gram products included
        factors.update(compress_block(block, f"model.layers.{index}", statistics, options))
        clock.book("factorize")
        states = after if options.propagate == "original" else run_block(block, states, model.model.rotary_emb)
        clock.book("forward")
    save_file(factors, options.out)
    clock.book("write")
    dense = sum(m * n for m, n in dense_shapes(factors))
    return {"out": options.out.name, "method": options.method, "keep": options.keep, "propagate": options.propagate,
            "calibrationTokens": windows.numel(), "factored": sum(key.endswith("left.weight") for key in factors),
            "parametersOfFactors": sum(t.numel() for t in factors.values()), "parametersBefore": dense, **clock.report()}


def dense_shapes(factors):
    """The dense shapes of the factored projections."""
    for key, left in factors.items():
        if key.endswith(".left.weight"):
            yield left.shape[0], factors[key.replace(".left.", ".right.")].shape[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("perplexity")
    command.set_defaults(run=perplexity)
    command.add_argument("model", type=Path)
    command.add_argument("text", type=Path)
    command.add_argument("--window", type=int, default=1024, help="tokens")
    command.add_argument("--max-windows", type=int)
    command.add_argument("--factors", type=Path, help="what `compress` wrote")

    command = commands.add_parser("generate")
    command.set_defaults(run=generate)
    command.add_argument("model", type=Path)
    command.add_argument("--factors", type=Path, help="the model.safetensors that rankfold or `compress` wrote")
    command.add_argument("--prompt", type=int, default=512, help="tokens")
    command.add_argument("--tokens", type=int, default=64, help="after the prompt")

    command = commands.add_parser("compress")
    command.set_defaults(run=compress)
    command.add_argument("model", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--method", choices=METHODS, default="nsvd-i")
    command.add_argument("--keep", type=float, default=0.8, help="fraction of the projections' parameters that is kept")
    command.add_argument("--calibration", type=Path, required=True)
    command.add_argument("--samples", type=int, default=128, help="calibration windows")
    command.add_argument("--window", type=int, default=512, help="tokens of a calibration window")
    command.add_argument("--propagate", choices=("original", "compressed"), default="original")

    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(json.dumps(options.run(options)))


if __name__ == "__main__":
    main()
