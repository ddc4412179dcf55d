"""What the doctor says to an engine: texts, tools, schemas and a picture, as data.

The answers must not hang on a model's wits: arguments and schemas are enumerations, so that even a model of
noise ends them, and what is asked for by force is what nobody would do unasked.
"""

from __future__ import annotations

import base64
import struct
import zlib

import msgspec

from dragoman.wire.openai import ChatMessage, ChatTool, FunctionCall, FunctionSpec, JsonFormat, ToolCall

COUNT = "Count to twenty."
HELLO = "Say hello."
WEATHER = "What is the weather in Paris?"
COMPARE = "Compare the weather in Paris and Tokyo."

# Long enough to stand out in a count of tokens, wherever a prompt cannot be read.
MARK = " ".join(["cobalt"] * 24)
# Longer than two of the blocks in which caches keep prompts.
LONG = " ".join(f"The weather in Paris is {number} degrees." for number in range(60))

_Schema = dict[str, object]
_CITY: _Schema = {"type": "string", "enum": ["Paris", "Tokyo", "Oslo"]}
_UNIT: _Schema = {"type": "string", "enum": ["c", "f"]}
_COLOR: _Schema = {"type": "string", "enum": ["red", "green", "blue"]}


def _tool(name: str, description: str, **properties: _Schema) -> ChatTool:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    parameters = msgspec.Raw(msgspec.json.encode(schema))
    return ChatTool(function=FunctionSpec(name=name, description=description, parameters=parameters))


GET_WEATHER = _tool("get_weather", "Weather for a city.", city=_CITY, unit=_UNIT)
PICK_COLOR = _tool("pick_color", "Picks a color.", color=_COLOR)
TOOLS = [GET_WEATHER, PICK_COLOR]
# Some engines hold a call to its schema only where the tool asks for it.
STRICT_TOOLS = [ChatTool(function=msgspec.structs.replace(tool.function, strict=True)) for tool in TOOLS]
# What calls of each tool must hold.
REQUIRED = {"get_weather": {"city", "unit"}, "pick_color": {"color"}}

WORD = {"word": "dragoman"}
WORD_FORMAT = JsonFormat(
    schema=msgspec.Raw(
        msgspec.json.encode(
            {
                "type": "object",
                "properties": {"word": {"type": "string", "enum": [WORD["word"]]}},
                "required": ["word"],
                "additionalProperties": False,
            }
        )
    )
)

# The same arguments, spelled as a model may, and as a serialiser does.
ODD_ARGUMENTS = '{"city":\n\n\n\n    "Paris",\n\n\n\n    "unit":\n\n\n\n    "c"}'
PLAIN_ARGUMENTS = '{"city": "Paris", "unit": "c"}'


def user(text: str) -> ChatMessage:
    """A user turn."""
    return ChatMessage(role="user", content=text)


def system(text: str) -> ChatMessage:
    """A system turn."""
    return ChatMessage(role="system", content=text)


def assistant(text: str, reasoning: str | None = None) -> ChatMessage:
    """An assistant turn, with the thinking that went before it."""
    return ChatMessage(role="assistant", content=text, reasoning=reasoning)


def called(arguments: str = PLAIN_ARGUMENTS, reasoning: str | None = None) -> ChatMessage:
    """An assistant turn that called the first tool."""
    call = ToolCall(id="call_1", function=FunctionCall("get_weather", arguments))
    return ChatMessage(role="assistant", content="", reasoning=reasoning, tool_calls=[call])


def result(text: str) -> ChatMessage:
    """The turn that brings back what the call gave."""
    return ChatMessage(role="tool", content=text, tool_call_id="call_1")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _red_square(side: int) -> str:
    rows = b"".join(b"\0" + b"\xe0\x20\x20" * side for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows))
    return f"data:image/png;base64,{base64.b64encode(png + _chunk(b'IEND', b'')).decode()}"


# Some models refuse pictures that are smaller than one of their tiles.
PICTURE = _red_square(64)
