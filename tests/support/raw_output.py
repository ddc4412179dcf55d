"""Raw output in every format, and what it says: for the tests of the parsers."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from dragoman.engines.whole import fold
from dragoman.translate.parsers import output_parser
from dragoman.wire.openai import ChatChunk, ChatDelta, ChatTool, ChunkChoice, FunctionSpec

SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "n": {"type": "integer"},
        "tags": {"type": "array"},
        "mode": {"enum": ["a", "b"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "maybe": {"type": ["string", "null"]},
        "free": {},
        "odd": True,
    },
}
TOOL = ChatTool(function=FunctionSpec(name="find", parameters=msgspec.Raw(msgspec.json.encode(SCHEMA))))


class Parts(NamedTuple):
    """What an answer says."""

    thinking: str | None
    text: str | None
    calls: list[tuple[str | None, str | None]]


def folded(deltas: list[ChatDelta]) -> Parts:
    whole = fold(ChatChunk(choices=[ChunkChoice(delta=delta)]) for delta in deltas)
    if not whole.choices:
        return Parts(None, None, [])
    message = whole.choices[0].message
    calls = [call.function for call in message.tool_calls or () if call.function is not None]
    return Parts(message.reasoning, message.content, [(call.name, call.arguments) for call in calls])


def deltas_of(raw_format: str, pieces: list[str], **more: Any) -> list[ChatDelta]:
    parser = output_parser(raw_format, [TOOL], **more)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    return deltas + parser.close()


def parsed(raw_format: str, text: str, size: int = 10_000, **more: Any) -> Parts:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return folded(deltas_of(raw_format, pieces, **more))


def deepseeks(text: str) -> str:
    return text.replace("|", "\uff5c").replace("_", "\u2581")


ARGUMENTS = '{"query": "a } b", "n": 3}'
TAGGED = "<parameter=query>\na } b\n</parameter>\n<parameter=n>\n3\n</parameter>"
ONE_CALL: dict[str, str] = {
    "hermes": f'<tool_call>\n{{"name": "find", "arguments": {ARGUMENTS}}}\n</tool_call>',
    "qwen3_coder": f"<tool_call>\n<function=find>\n{TAGGED}\n</function>\n</tool_call>",
    "glm": "<tool_call>find\n<arg_key>query</arg_key>\n<arg_value>a } b</arg_value>\n"
    "<arg_key>n</arg_key><arg_value>3</arg_value></tool_call>",
    "llama3": f'{{"name": "find", "parameters": {ARGUMENTS}}}',
    "mistral": f"[TOOL_CALLS]find[CALL_ID]a1b2c3d4e[ARGS]{ARGUMENTS}",
    "mistral_list": f'[TOOL_CALLS][{{"name": "find", "arguments": {ARGUMENTS}, "id": "a1b2c3d4e"}}]',
    "deepseek": deepseeks("<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>find\n```json\n")
    + ARGUMENTS
    + deepseeks("\n```<|tool_call_end|><|tool_calls_end|>"),
    "deepseek_dsml": deepseeks("<|DSML|function")
    + "_calls>\n"
    + deepseeks("<|DSML|invoke name=")
    + '"find">\n'
    + deepseeks("<|DSML|parameter name=")
    + '"query" string="true">a } b'
    + deepseeks("</|DSML|parameter>\n<|DSML|parameter name=")
    + '"n" string="false">3'
    + deepseeks("</|DSML|parameter>\n</|DSML|invoke>\n</|DSML|function")
    + "_calls>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.find:0<|tool_call_argument_begin|>"
    f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
    "minimax_m2": '<minimax:tool_call>\n<invoke name="find">\n<parameter name="query">a } b</parameter>\n'
    '<parameter name="n">3</parameter>\n</invoke>\n</minimax:tool_call>',
    "seed_oss": "<seed:tool_call>\n<function=find>\n<parameter=query>a } b</parameter>\n"
    "<parameter=n>3</parameter>\n</function>\n</seed:tool_call>",
    "functionary": f"<function=find>{ARGUMENTS}</function>",
    "tool_calls": f'<tool_calls>[{{"name": "find", "arguments": {ARGUMENTS}}}]</tool_calls>',
    "nemotron_v2": f'<TOOLCALL>[{{"name": "find", "arguments": {ARGUMENTS}}}]</TOOLCALL>',
    "cohere": '<|START_ACTION|>[\n  {"tool_call_id": "0", "tool_name": "find", "parameters": '
    f"{ARGUMENTS}}}\n]<|END_ACTION|>",
    "gpt_oss": f"<|channel|>commentary to=functions.find <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
}
THOUGHTS: dict[str, tuple[str, str]] = {
    "mistral": ("[THINK]", "[/THINK]"),
    "mistral_list": ("[THINK]", "[/THINK]"),
    "seed_oss": ("<seed:think>", "</seed:think>"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "gpt_oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
}
