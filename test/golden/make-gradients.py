"""Makes the golden gradients of test/golden/gradients, for cases of test/golden/llama: what torch's autograd gives.

    python make-gradients.py            writes every case
    python make-gradients.py --check    recomputes them and compares with the committed files

The loss is the mean over positions of KL(softmax(reference) || softmax(logits)), the reference being the logits.bin of another
case. NAME.safetensors holds the gradient of every weight of the blocks and of the last norm, float32. Needs torch, transformers 5
and safetensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LLAMA = Path(__file__).parent / "llama"
FOLDER = Path(__file__).parent / "gradients"
CASES = {"gqa-untied": "head-dim", "mistral-window": "gqa-untied", "biases": "mha-tied"}  # case -> where its reference is from
TOLERANCE = 1e-5  # float32 sums, in another order on another processor; gradients are of size 0.01 to 1


def gradients(case, reference):
    model = AutoModelForCausalLM.from_pretrained(LLAMA / case, dtype=torch.float32, attn_implementation="eager")
    tokens = torch.tensor(json.loads((LLAMA / case / "input.json").read_text())["sequences"])
    logits = model(tokens, use_cache=False).logits
    target = torch.from_numpy(np.fromfile(LLAMA / reference / "logits.bin", "<f4").reshape(logits.shape))
    p, q = target.log_softmax(-1), logits.log_softmax(-1)
    loss = (p.exp() * (p - q)).sum(-1).mean()
    loss.backward()
    frozen = ("model.embed_tokens.weight", "lm_head.weight")
    found = {name: w.grad.contiguous() for name, w in model.named_parameters() if name not in frozen}
    return {**found, "loss": loss.detach().reshape(1)}


def main():
    FOLDER.mkdir(exist_ok=True)
    for case, reference in CASES.items():
        found, file = gradients(case, reference), FOLDER / f"{case}.safetensors"
        if "--check" not in sys.argv:
            save_file(found, file, {"format": "pt", "reference": reference})
        committed = load_file(file)
        assert committed.keys() == found.keys(), case
        error = max((committed[name] - found[name]).abs().max().item() for name in found)
        assert error < TOLERANCE, f"{case}: gradients differ by {error:.1e}, expected below {TOLERANCE}"
        print(f"{case:16} loss {found['loss'].item():.4f}  {len(found) - 1} gradients")


if __name__ == "__main__":
    sys.exit(main())
