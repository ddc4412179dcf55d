"""What chat templates write for a call, and what the parsers read back out of it."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.dialects.raw_formats import RAW_FORMATS
from dragoman.translate.parsers import FORMATS, output_parser
from dragoman.wire.openai import (
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionCall,
    FunctionSpec,
    ToolCall,
    ToolCallDelta,
)
from tests.prefix.rendering import Template
from tests.prefix.table import all_templates

UNKNOWN = {
    # they print no calls
    "HuggingFaceTB-SmolLM3-3B",
    "LFM2-8B-A1B",
    "LFM2.5-Instruct",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "google-gemma-2-2b-it",
    "ibm-granite-granite-3.3-2B-Instruct",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
    # they do not render
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "fireworks-ai-llama-3-firefunction-v2",
    # formats that are not read yet
    "Apertus-8B-Instruct",
    "GigaChat3-10B-A1.8B",
    "GigaChat3.1-10B-A1.8B",
    "Kimi-K3",
    "LFM2.5-8B-A1B",
    "MiniMax-M3",
    "google-gemma-4-31B-it",
    "google-gemma-4-31B-it-interleaved",
    "meetkai-functionary-medium-v3.2",
    "muse-glimmer",
    "openbmb-MiniCPM5-1B",
    "tencent-Hy3",
    "upstage-Solar-Open-100B",
}
SCHEMA = b'{"type":"object","properties":{"query":{"type":"string"},"n":{"type":"integer"}}}'
TOOL = ChatTool(function=FunctionSpec(name="find", description="Finds it.", parameters=msgspec.Raw(SCHEMA)))
ARGUMENTS = {"query": 'a "b" } </c> \\ d', "n": 3}
NAMES = [template.name for template in all_templates()]


def template_of(name: str) -> Template:
    return next(template for template in all_templates() if template.name == name)


def test_every_name_that_is_found_is_a_format() -> None:
    assert RAW_FORMATS == FORMATS


@pytest.mark.parametrize("name", NAMES)
def test_a_template_tells_its_format_or_is_listed(name: str) -> None:
    assert (template_of(name).capabilities.raw_format == "") == (name in UNKNOWN)


@pytest.mark.parametrize("name", sorted(set(NAMES) - UNKNOWN))
def test_a_call_that_a_template_wrote_is_read_back(name: str) -> None:
    template = template_of(name)
    call = ToolCall("a1b2c3d4e", FunctionCall("find", msgspec.json.encode(ARGUMENTS).decode()))
    messages = [
        ChatMessage(role="user", content="alpha-1"),
        ChatMessage(role="assistant", content=None, tool_calls=[call]),
        ChatMessage(role="tool", content="found", tool_call_id=call.id),
    ]
    if not template.capabilities.calls_without_text:
        messages[1].content = ""
    prompt = template.prompt(ChatRequest(model="m", messages=messages, tools=[TOOL]))
    assert prompt is not None, template.refusal
    turn = prompt[prompt.rfind("alpha-1") + len("alpha-1") :]
    raw_format = template.capabilities.raw_format
    if raw_format == "llama3":
        turn = turn[turn.index('{"name"') :]
    parser = output_parser(raw_format, [TOOL])
    pieces: list[ToolCallDelta] = [
        piece for delta in parser.feed(turn) + parser.close() for piece in delta.tool_calls or ()
    ]
    functions = [piece.function for piece in pieces if piece.function is not None]
    assert [function.name for function in functions if function.name] == ["find"]
    assert msgspec.json.decode("".join(function.arguments or "" for function in functions)) == ARGUMENTS
