"""Makes tokenizer.json: words and token ids of awkward texts by the tokenizers package, for each pre-tokenizer that rankfold
writes for GGUF files; the ids with the vocabulary of pequod-5m. Needs `pip install tokenizers` and the folder of pequod-5m.

    python test/golden/make-tokenizer.py MODEL            writes the file
    python test/golden/make-tokenizer.py MODEL --check    compares the committed file with the package
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

FILE = Path(__file__).parent / "tokenizer.json"
TEXTS = 50
PARTS = ["the whale", " the", "  ", "\n", "\r\n", "\t", " \n \n", "\u0085", "\ufeff", "\u00a0", "\u3000", "'s", "'LL", "don't",
         "1", "1850", "12345678", "²", "½", "Ⅷ", "１２", "½²Ⅷ", "٣٤", "é", "e\u0301", "naïve", "中文字", "。", "😀", "👩‍🚀", "!!", "...", " (", "_",
         "ſ", "ABC", "ÀÉ", "\u200b", "\0", "ﬁ", "x=1;", "--"]
NUMBERED = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
            "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


def byte_level(use_regex: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(numbers: str) -> dict:
    words = {"type": "Split", "pattern": {"Regex": NUMBERED % numbers}, "behavior": "Isolated", "invert": False}
    return sequence(words, byte_level(False))


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": list(steps)}


VARIANTS = {
    "gpt-2": (None, byte_level(True)),
    "smollm": (None, sequence({"type": "Digits", "individual_digits": True}, byte_level(True))),
    "llama-bpe": (None, split("\\p{N}{1,3}")),
    "qwen2": ({"type": "NFC"}, split("\\p{N}")),
}


def texts() -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(PARTS, k=draw.randint(1, 14))) for _ in range(TEXTS)]


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def golden(folder: Path) -> dict:
    base = json.loads((folder / "tokenizer.json").read_text())
    variants = {}
    for name, (normalizer, pre_tokenizer) in VARIANTS.items():
        changed = {**base, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
        tokenizer = Tokenizer.from_str(json.dumps(changed))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts()]
        parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
        variants[name] = {**parts, "words": [words(tokenizer, text) for text in texts()], "ids": ids}
    return {"texts": texts(), "variants": variants}


def main() -> None:
    made = json.dumps(golden(Path(sys.argv[1])))
    if "--check" not in sys.argv:
        FILE.write_text(made + "\n")
    same = json.loads(FILE.read_text()) == json.loads(made)
    print("same" if same else "DIFFERENT")
    sys.exit(0 if same else 1)


main()
