"""How a model writes its calls, seen on a call that its chat template renders."""

from __future__ import annotations

# Marks of a rendered call and its format, a name in `translate/parsers`: the first that all fit.
_MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<seed:tool_call>",), "seed_oss"),
    (("<minimax:tool_call>",), "minimax_m2"),
    (("<\uff5cDSML\uff5c",), "deepseek_dsml"),
    (("<\uff5ctool\u2581call\u2581begin\uff5c>",), "deepseek"),
    (("<|tool_call_begin|>",), "kimi_k2"),
    (("<|START_ACTION|>",), "cohere"),
    (("<TOOLCALL>",), "nemotron_v2"),
    (("<tool_calls>",), "tool_calls"),
    (("[TOOL_CALLS][",), "mistral_list"),
    (("[TOOL_CALLS]",), "mistral"),
    (("<tool_call>", "<arg_key>"), "glm"),
    (("<tool_call>", "<function=", "<parameter="), "qwen3_coder"),
    (("<tool_call>", '"name"', '"arguments"'), "hermes"),
    (("<function=", "</function>"), "functionary"),
    (("to=functions.", "<|message|>"), "gpt_oss"),
    (("<|start_header_id|>", '{"name"', '"parameters"'), "llama3"),
)


def raw_format_of(prompt: str, after: str) -> str:
    """The format of the call in a prompt, behind the last place of `after`; "" where it is none of these."""
    turn = prompt[prompt.rfind(after) :]
    return next((name for marks, name in _MARKS if all(mark in turn for mark in marks)), "")


RAW_FORMATS = frozenset(name for _, name in _MARKS)
"""All names that may come out."""
