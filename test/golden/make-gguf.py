"""Makes gguf/: small GGUF files of the llama architecture, one for each tensor type that rankfold reads, and the values
that the gguf package dequantises them to. Needs `pip install gguf numpy`.

    python test/golden/make-gguf.py           writes the files
    python test/golden/make-gguf.py --check   compares the values of the committed files with the package's
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, dequantize, quantize

FOLDER = Path(__file__).parent / "gguf"
HIDDEN, INNER, VOCABULARY, HEADS, KEY_HEADS = 8, 256, 8, 2, 1
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# The package dequantises the K types but does not make them: random bytes with sane scales serve as well.
SCALE_BYTES = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BLOCK_BYTES = {"Q4_K": 144, "Q5_K": 176, "Q6_K": 210}


def quantised(name: str, random: np.random.Generator) -> np.ndarray:
    shape = (HIDDEN, INNER)
    if name not in BLOCK_BYTES:
        return quantize(random.normal(size=shape).astype(np.float32), Type[name])
    blocks = random.integers(0, 256, (HIDDEN, BLOCK_BYTES[name]), dtype=np.uint8)
    for at in SCALE_BYTES[name]:
        scales = random.uniform(0.001, 0.01, (HIDDEN, 1)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8)
    return blocks


def write(path: Path, name: str) -> None:
    random = np.random.default_rng(TYPES.index(name))
    writer = GGUFWriter(path, "llama")
    metadata(writer)
    plain = {
        "token_embd.weight": (VOCABULARY, HIDDEN),
        "blk.0.attn_q.weight": (HIDDEN, HIDDEN),
        "blk.0.attn_k.weight": (HIDDEN // HEADS * KEY_HEADS, HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for tensor, shape in plain.items():
        writer.add_tensor(tensor, np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    writer.add_tensor("blk.0.ffn_down.weight", quantised(name, random), raw_dtype=Type[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata(writer: GGUFWriter) -> None:
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|end|>", "a", "b", "Ġ", "ab", "Ġab", "1", "2"])
    writer.add_token_types([3, 1, 1, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b", "Ġ ab"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def values(path: Path) -> np.ndarray:
    tensor = next(t for t in GGUFReader(path).tensors if t.name == "blk.0.ffn_down.weight")
    return dequantize(tensor.data, tensor.tensor_type).astype("<f4")


def main() -> None:
    check = "--check" in sys.argv
    FOLDER.mkdir(exist_ok=True)
    for name in TYPES:
        path, expected = FOLDER / f"{name}.gguf", FOLDER / f"{name}.f32"
        if not check:
            write(path, name)
            values(path).tofile(expected)
        same = np.array_equal(values(path).ravel(), np.fromfile(expected, dtype="<f4"))
        print(name, "same" if same else "DIFFERENT")
        if not same:
            sys.exit(1)


main()
