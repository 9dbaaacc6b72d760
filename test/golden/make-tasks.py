"""Makes tasks.json: log-likelihoods of continuations by lm-evaluation-harness, on the embedded model and questions made up here:
one context and several continuations, spaces at the end of the context, no context, more tokens than the model sees.

    pip install lm-eval==0.4.13 accelerate peft torch transformers
    python test/golden/make-tasks.py            writes the file
    python test/golden/make-tasks.py --check    compares the committed file with the harness, to 1e-3
"""

import json
import sys
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

FILE = Path(__file__).parent / "tasks.json"
MODEL = Path(__file__).parents[2] / "assets" / "pequod-5m"
QUESTIONS = [
    ("Question: How does one keep a boat from drifting?\nAnswer:", [" Drop the anchor.", " Drop the lamp into the sea.", " Sing"]),
    ("The Congress of the", [" United", " whale", " United States"]),
    ("The Congress of the  ", [" United", "States"]),
    ("A question with a line break\n", [" no", " yes", " naïve 中文 — perhaps"]),
    ("", [" The whale swam away.", " The treaty was signed.", "<|endoftext|>Call"]),
    ("The harpooneer thanked the captain because the harpooneer", [" was rescued from the water."]),
    ("The harpooneer thanked the captain because the captain", [" was rescued from the water."]),
    ("The whale, the sea and the ship went on. " * 60 + "After all the whale, the sea and the", [" ship", " ship went on", " Senate"]),
]


def golden() -> list:
    model = HFLM(pretrained=str(MODEL), dtype="float32", device="cpu", batch_size=1)
    questions = []
    for context, continuations in QUESTIONS:
        requests = [Instance("loglikelihood", {}, (context, text), i) for i, text in enumerate(continuations)]
        scores = model.loglikelihood(requests, disable_tqdm=True)
        answers = [[text, round(float(score), 5), bool(greedy)] for text, (score, greedy) in zip(continuations, scores)]
        questions.append({"context": context, "continuations": answers})
    return questions


def differs(old: list, new: list) -> bool:
    pairs = [(a, b) for x, y in zip(old, new, strict=True) for a, b in zip(x["continuations"], y["continuations"], strict=True)]
    return any(a[0] != b[0] or abs(a[1] - b[1]) > 1e-3 or a[2] != b[2] for a, b in pairs)


if __name__ == "__main__":
    made = golden()
    if "--check" in sys.argv:
        sys.exit("tasks.json differs" if differs(json.loads(FILE.read_text()), made) else 0)
    FILE.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
