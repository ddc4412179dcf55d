"""Raw model output to deltas: one table of formats, by the names that `EngineCapabilities.raw_format` has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from dragoman.translate.parsers.harmony import HarmonyParser
from dragoman.translate.parsers.json_calls import JsonCalls, JsonSyntax
from dragoman.translate.parsers.marked import THINK, MarkedParser
from dragoman.translate.parsers.named_calls import NamedCalls, NamedSyntax
from dragoman.translate.parsers.reader import CallReader
from dragoman.translate.parsers.tagged_calls import TaggedCalls, TaggedSyntax
from dragoman.wire.openai import ChatDelta, ChatTool

__all__ = ["FORMATS", "OutputParser", "output_parser"]

Syntax = JsonSyntax | NamedSyntax | TaggedSyntax


class OutputParser(Protocol):
    """Reads one answer. However its text is cut into pieces, the deltas say the same."""

    def feed(self, text: str) -> list[ChatDelta]:
        """What this piece adds, in order; only what may begin a marker is held back."""
        ...

    def close(self) -> list[ChatDelta]:
        """What was held back, as it turned out."""
        ...


class _Format(msgspec.Struct, frozen=True):
    """How a family of models writes: its calls, and its thinking."""

    calls: tuple[Syntax, ...] = ()
    thinking: tuple[str, str] = THINK


def _deepseeks(text: str) -> str:
    """DeepSeek's markers, whose bars and lows are no ASCII."""
    return text.replace("|", "\uff5c").replace("_", "\u2581")


_TOOL_CALL = JsonSyntax(opener="<tool_call>", closer="</tool_call>")
_FUNCTION_TAGS = TaggedSyntax(
    opener="<tool_call>",
    closer="</tool_call>",
    function=r"<function=(?P<name>[^>\s]+)>",
    function_end="</function>",
    parameter=r"<parameter=(?P<key>[^>\s]+)>",
    parameter_end="</parameter>",
)
_INVOKE = TaggedSyntax(
    opener="<minimax:tool_call>",
    closer="</minimax:tool_call>",
    function=r'<invoke name="(?P<name>[^"]+)">',
    function_end="</invoke>",
    parameter=r'<parameter name="(?P<key>[^"]+)">',
    parameter_end="</parameter>",
)
_DSML = TaggedSyntax(
    opener=_deepseeks("<|DSML|function") + "_calls>",
    closer=_deepseeks("</|DSML|function") + "_calls>",
    function=_deepseeks(r'<|DSML|invoke name="(?P<name>[^"]+)">'),
    function_end=_deepseeks("</|DSML|invoke>"),
    parameter=_deepseeks(r'<|DSML|parameter name="(?P<key>[^"]+)"')
    + r'(?: string="(?P<is_text>true|false)")?>',
    parameter_end=_deepseeks("</|DSML|parameter>"),
)
_DEEPSEEK_HEAD = _deepseeks(
    r"\s*(?:<|tool_call_begin|>)?(?:function<|tool_sep|>)?(?P<name>[^<\n`]+)(?:<|tool_sep|>)?\s*"
    r"(?:```(?:json)?\s*)?"
)
_FORMATS: dict[str, _Format] = {
    # Qwen 2.5 and 3, QwQ, Hermes, Granite 4, MiMo, and many that follow them
    "hermes": _Format((_TOOL_CALL,)),
    # Qwen 3 Coder and 3.5, Nemotron 3, Step
    "qwen3_coder": _Format((msgspec.structs.replace(_FUNCTION_TAGS, newlines=True),)),
    # GLM 4.5 to 4.7, Ling, Laguna
    "glm": _Format(
        (
            TaggedSyntax(
                opener="<tool_call>",
                closer="</tool_call>",
                function=r"(?P<name>[^<\s]+)\s*(?=<)",
                function_end="",
                parameter=r"<arg_key>(?P<key>[^<]*)</arg_key>\s*<arg_value>",
                parameter_end="</arg_value>",
                parameter_tags=3,
            ),
        )
    ),
    # Llama 3.1 to 3.3
    "llama3": _Format(
        (
            JsonSyntax(opener="<|python_tag|>", closer="", arguments="parameters", separators=";,"),
            JsonSyntax(opener="", closer="", arguments="parameters", separators=";,"),
        )
    ),
    # Mistral, Ministral, Devstral: a list before 2025, names since
    "mistral": _Format(
        (
            NamedSyntax(
                opener="[TOOL_CALLS]",
                head=r"\s*(?P<name>[\w.-]+)(?:\[CALL_ID\](?P<id>[^\[]*))?(?:\[ARGS\])?\s*",
                again=("[TOOL_CALLS]",),
            ),
        ),
        ("[THINK]", "[/THINK]"),
    ),
    "mistral_list": _Format((JsonSyntax(opener="[TOOL_CALLS]", closer=""),), ("[THINK]", "[/THINK]")),
    # DeepSeek V3, V3.1, R1
    "deepseek": _Format(
        (
            NamedSyntax(
                opener=_deepseeks("<|tool_calls_begin|>"),
                head=_DEEPSEEK_HEAD,
                skipped=("```", _deepseeks("<|tool_call_end|>")),
                again=(_deepseeks("<|tool_call_begin|>"),),
                closers=(_deepseeks("<|tool_calls_end|>"),),
            ),
        )
    ),
    # DeepSeek V3.2 and V4
    "deepseek_dsml": _Format(
        (
            _DSML,
            msgspec.structs.replace(
                _DSML,
                opener=_deepseeks("<|DSML|tool") + "_calls>",
                closer=_deepseeks("</|DSML|tool") + "_calls>",
            ),
        )
    ),
    "kimi_k2": _Format(
        (
            NamedSyntax(
                opener="<|tool_calls_section_begin|>",
                head=r"\s*<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[\w.-]+?):\d+)\s*"
                r"<\|tool_call_argument_begin\|>\s*",
                skipped=("<|tool_call_end|>",),
                again=("<|tool_call_begin|>",),
                closers=("<|tool_calls_section_end|>",),
            ),
        )
    ),
    "minimax_m2": _Format((_INVOKE,)),
    "seed_oss": _Format(
        (msgspec.structs.replace(_FUNCTION_TAGS, opener="<seed:tool_call>", closer="</seed:tool_call>"),),
        ("<seed:think>", "</seed:think>"),
    ),
    # Functionary 3.1
    "functionary": _Format(
        (NamedSyntax(opener="<function=", head=r"(?P<name>[\w.-]+)>\s*", closers=("</function>",)),)
    ),
    # Apriel, MiniMax M1
    "tool_calls": _Format((JsonSyntax(opener="<tool_calls>", closer="</tool_calls>"),)),
    "nemotron_v2": _Format((JsonSyntax(opener="<TOOLCALL>", closer="</TOOLCALL>"),)),
    # Command R7B and A
    "cohere": _Format(
        (
            JsonSyntax(
                opener="<|START_ACTION|>", closer="<|END_ACTION|>", name="tool_name", arguments="parameters"
            ),
        ),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
    ),
}
_HARMONY = "gpt_oss"
FORMATS = frozenset({*_FORMATS, _HARMONY})
"""The names of the formats."""


def output_parser(
    raw_format: str, tools: Sequence[ChatTool] = (), *, in_thinking: bool = False
) -> OutputParser:
    """A parser for one answer in a format of `FORMATS`; a `KeyError` names one that is none.

    in_thinking: the prompt has opened the thinking, so that the answer begins inside of it.
    """
    if raw_format == _HARMONY:
        return HarmonyParser(in_thinking=in_thinking)
    found = _FORMATS[raw_format]
    schemas = {tool.function.name: tool.function.parameters for tool in tools}
    readers = {syntax.opener: _reader(syntax, schemas) for syntax in found.calls}
    return MarkedParser(readers, thinking=found.thinking, in_thinking=in_thinking)


def _reader(syntax: Syntax, schemas: Mapping[str, msgspec.Raw]) -> CallReader:
    if isinstance(syntax, JsonSyntax):
        return JsonCalls(syntax)
    return NamedCalls(syntax) if isinstance(syntax, NamedSyntax) else TaggedCalls(syntax, schemas)
