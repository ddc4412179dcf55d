"""Which tokenizer each template's model has."""

from __future__ import annotations

import re

from tests.prefix.tokens import Tokenizer

BORROWED = "llama-bpe"
"""The vocabulary that cuts prompts of models whose own is not at hand."""
# What a template prints that can be nothing but a control token; other tags may be one, or a text.
_MARK = re.compile(r"<[|\uff5c][^<>\s{}]{1,40}>|<[^<>\s{}]{1,40}[|\uff5c]>|\[/?[A-Z_]{2,40}\]")


def _wide(*names: str) -> tuple[str, ...]:
    """Control tokens as DeepSeek writes them: wide bars, and low lines for spaces."""
    return tuple(f"<\uff5c{name.replace(' ', chr(0x2581))}\uff5c>" for name in names)


# Control tokens between turns that do not look like some, or that the template puts together.
_DECLARED = {
    "ByteDance-Seed-OSS": ("<seed:bos>", "<seed:eos>"),
    "NVIDIA-Nemotron-Nano-v2": ("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>"),
    "google-gemma-2-2b-it": ("<start_of_turn>", "<end_of_turn>"),
    "tencent-Hy3": _wide(
        *(f"{name}:opensource" for name in ("hy_begin_of_sentence", "hy_User", "hy_Assistant", "hy_eos")),
        "reasoning_mode:opensource",
    ),
}

_CALLS = ("<tool_call>", "</tool_call>")
_RESULTS = ("<tool_response>", "</tool_response>")
_THINK = ("<think>", "</think>")
_SEEN = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_DEEPSEEK_BOS, _DEEPSEEK_EOS = _wide("begin of sentence", "end of sentence")
_PARTS = ("calls", "call", "outputs", "output")
_DEEPSEEK = _wide(
    "User",
    "Assistant",
    *(f"tool {part} {end}" for part in _PARTS for end in ("begin", "end")),
    "tool sep",
)
_NEMO = (
    "<unk>",
    "<pad>",
    *(f"[{end}{what}]" for what in ("INST", "AVAILABLE_TOOLS", "TOOL_RESULTS") for end in ("", "/")),
    "[TOOL_CALLS]",
)
_MISTRAL = (
    *_NEMO,
    *(f"[{end}{what}]" for what in ("SYSTEM_PROMPT", "THINK") for end in ("", "/")),
    *("[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
)
_HARMONY = ("endoftext", "start", "end", "message", "channel", "constrain", "call")

_QWEN2 = Tokenizer("qwen2", (*_CALLS, *_SEEN), eos="<|im_end|>")
_QWEN3 = Tokenizer("qwen2", (*_CALLS, *_RESULTS, *_THINK, *_SEEN), eos="<|im_end|>")
_LLAMA3 = Tokenizer("llama-bpe", ("<|eom_id|>", "<|python_tag|>"), "<|begin_of_text|>", "<|eot_id|>")
_HERMES = Tokenizer(
    "llama-bpe",
    ("<|im_start|>", "<tools>", "</tools>", *_CALLS, *_RESULTS),
    "<|begin_of_text|>",
    "<|im_end|>",
)
_NEW_MISTRAL = Tokenizer("tekken", _MISTRAL, "<s>", "</s>")
_DEEPSEEK_V3 = Tokenizer("deepseek-v3", (), _DEEPSEEK_BOS, _DEEPSEEK_EOS)
_GEMMA4 = Tokenizer("gemma-4", (), "<bos>", "<eos>")

REAL = {
    "Mistral-Small-3.2-24B-Instruct-2506": _NEW_MISTRAL,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": _HERMES,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": _HERMES,
    "Qwen-QwQ-32B": _QWEN3,
    "Qwen-Qwen2.5-7B-Instruct": _QWEN2,
    "Qwen-Qwen3-0.6B": _QWEN3,
    "Qwen3-Coder": _QWEN3,
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Tokenizer(
        "llama-bpe", (*_DEEPSEEK, *_THINK), _DEEPSEEK_BOS, _DEEPSEEK_EOS
    ),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": Tokenizer(
        "qwen2", (*_DEEPSEEK, *_THINK), _DEEPSEEK_BOS, _DEEPSEEK_EOS
    ),
    "deepseek-ai-DeepSeek-V3.1": _DEEPSEEK_V3,
    "deepseek-ai-DeepSeek-V3.2": _DEEPSEEK_V3,
    "deepseek-ai-DeepSeek-V4": _DEEPSEEK_V3,
    "deepseek-ai-DeepSeek-V4-Flash-0731": _DEEPSEEK_V3,
    "fireworks-ai-llama-3-firefunction-v2": _LLAMA3,
    "google-gemma-4-31B-it": _GEMMA4,
    "google-gemma-4-31B-it-interleaved": _GEMMA4,
    "llama-cpp-deepseek-r1": _DEEPSEEK_V3,
    "meetkai-functionary-medium-v3.1": _LLAMA3,
    "meetkai-functionary-medium-v3.2": _LLAMA3,
    "meta-llama-Llama-3.1-8B-Instruct": _LLAMA3,
    "meta-llama-Llama-3.2-3B-Instruct": _LLAMA3,
    "meta-llama-Llama-3.3-70B-Instruct": _LLAMA3,
    "mistralai-Ministral-3-14B-Reasoning-2512": _NEW_MISTRAL,
    "mistralai-Mistral-Nemo-Instruct-2407": Tokenizer("tekken", _NEMO, "<s>", "</s>"),
    "openai-gpt-oss-120b": Tokenizer(
        "o200k", tuple(f"<|{name}|>" for name in _HARMONY), "<|startoftext|>", "<|return|>"
    ),
    "unsloth-mistral-Devstral-Small-2507": _NEW_MISTRAL,
}
"""The models whose vocabulary is at hand, with their control tokens that it does not name."""


def tokenizer_of(template: str, source: str) -> Tokenizer:
    """The tokenizer of a template's model; else a borrowed one, with the marks that the template prints."""
    if template in REAL:
        return REAL[template]
    marks = (*dict.fromkeys(_MARK.findall(source)), *_DECLARED.get(template, ()))
    return Tokenizer(BORROWED, marks, "<s>", "</s>", borrowed=True)
