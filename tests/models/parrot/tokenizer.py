"""The parrot's tokenizer: byte-level BPE trained on the script, split the way llama.cpp's "qwen2" splits."""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.models.parrot.script import (
    CITIES,
    EXTRA_TOOLS,
    MORE_CITIES,
    SYSTEM,
    TOOLS,
    lines,
    long_lines,
    off_script,
    strict,
)
from tests.models.parrot.surroundings import WORDS

TEMPLATE = (Path(__file__).parent / "template.jinja").read_text(encoding="utf-8")
# The pre-tokenizer regex that llama.cpp calls "qwen2"; the two sides must split alike.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Special: dropped where a caller skips special tokens.
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# One token each, but kept in the text.
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
ROWS = 64
"""The embedding has a multiple of this many rows."""


def corpus() -> list[str]:
    """Every ASCII string of the script twice, the others once.

    With a least frequency of two all ASCII words become single tokens, while emoji and non-Latin text stay
    partly bytes, so that a streaming engine has to hold back incomplete UTF-8.
    """
    text = {TEMPLATE, json.dumps(TOOLS + EXTRA_TOOLS), json.dumps(strict(TOOLS)), SYSTEM, " ".join(WORDS)}
    for line in [*lines(CITIES + MORE_CITIES), *long_lines(), off_script([], False)]:
        text |= {message["content"] for message in line.messages} | {line.reply()}
    return sorted(text) + sorted(string for string in text if string.isascii())


def train_tokenizer(max_vocab: int) -> Tokenizer:
    """The tokenizer with at most `max_vocab` entries beside the control tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=max_vocab, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    add_control(tokenizer)
    return tokenizer


def add_control(tokenizer: Tokenizer) -> None:
    """Add control and markup tokens, and reserved ones up to a full number of rows."""
    used = tokenizer.get_vocab_size() + len(CONTROL) + len(MARKUP)
    reserved = [f"<|reserved_{number}|>" for number in range(-used % ROWS)]
    for content in CONTROL:
        tokenizer.add_special_tokens([AddedToken(content, special=True, normalized=False)])
    for content in MARKUP:
        tokenizer.add_tokens([AddedToken(content, special=False, normalized=False)])
    for content in reserved:
        tokenizer.add_special_tokens([AddedToken(content, special=True, normalized=False)])


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers uses it, chat template included.

    Not `Qwen2Tokenizer`: that class makes its own pre-tokenizer.
    """
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=32768,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped
