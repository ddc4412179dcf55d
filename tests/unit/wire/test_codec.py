"""What a request's body becomes, and what is said about a wrong one."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic import CountTokensRequest, decode_count, decode_messages, unknown_fields
from dragoman.wire.anthropic.blocks import TextBlock, ToolUseBlock
from dragoman.wire.anthropic.explain import explain

USER = {"role": "user", "content": "hello"}
DEEP = 100_000


def body(**fields: Any) -> bytes:
    """A body that is right but for what the fields say."""
    return msgspec.json.encode({"model": "m", "max_tokens": 5, "messages": [USER]} | fields)


def with_block(**block: Any) -> bytes:
    """A body whose second block is this one."""
    return body(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, block]}])


def raw(member: str) -> bytes:
    """A body that ends with a member written by hand."""
    return body()[:-1] + b"," + member.encode() + b"}"


def refusal(data: bytes) -> str:
    """The message of a refused body."""
    with pytest.raises(InvalidRequestError) as caught:
        decode_messages(data)
    return caught.value.message


def test_a_request_is_decoded_with_its_raw_parts_as_they_came() -> None:
    request = decode_messages(
        body(
            messages=[
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": 1}]}
            ]
        ).replace(b'"input":1', '"input": {"b" : 1.0, "a":"\u00fc"}'.encode())
    )
    block = request.messages[0].content[0]
    assert isinstance(block, ToolUseBlock)
    assert bytes(block.input) == '{"b" : 1.0, "a":"\u00fc"}'.encode()
    assert request.stream is None


def test_unknown_fields_are_accepted() -> None:
    request = decode_messages(with_block(type="text", text="b", x_extra=[1], citations=None))
    assert request.messages[0].content[1] == TextBlock(text="b", citations=msgspec.Raw(b"null"))


def test_a_system_turn_that_sets_an_effort_needs_no_content() -> None:
    turn = {"role": "system", "output_config": {"effort": "low"}}
    assert decode_messages(body(messages=[USER, turn])).messages[1].content == []


def test_a_count_needs_no_max_tokens() -> None:
    assert decode_count(b'{"model":"m","messages":[{"role":"user","content":"a"}]}').model == "m"
    with pytest.raises(InvalidRequestError, match=r"^model: Field required$"):
        decode_count(b"{}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The request body is empty; it must be a JSON object."),
        (b"[]", "The request body: Input should be an object, not an array"),
        (b"nul", "The request body is not valid JSON: it ends too early."),
        (body() + b"x", "The request body is not valid JSON: trailing characters (byte 76)."),
        (b"\xff", "The request body is not valid UTF-8."),
        (b'{"model":"m","max_tokens":1}', "messages: Field required"),
        (body(model=1), "model: Input should be a string, not an integer"),
        (body(model=""), "model: Input should have at least 1 character"),
        (body(messages=[]), "messages: Input should have at least 1 item"),
        (body(messages=[1]), "messages.0: Input should be an object, not an integer"),
        (
            body(messages=[USER, {"role": "tool", "content": "a"}]),
            "messages.1.role: Input should be 'assistant', 'system' or 'user', not 'tool'",
        ),
        (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
        (body(messages=[USER, {"role": "system"}]), "messages.1.content: Field required"),
        (body(messages=[{"role": "system", "output_config": {}}]), "messages.0.content: Field required"),
        (
            body(messages=[{"role": "assistant", "output_config": {"effort": "low"}}]),
            "messages.0.content: Field required",
        ),
        (
            body(messages=[{"role": "user", "content": None}]),
            "messages.0.content: Input should be a string or an array, not null",
        ),
        (with_block(type="text"), "messages.0.content.1.text: Field required"),
        (with_block(text="a"), "messages.0.content.1.type: Field required"),
        (
            with_block(type="document", source={"type": "ftp"}),
            (
                "messages.0.content.1.source.type: "
                "Input should be 'base64', 'text', 'content', 'url' or 'file', not 'ftp'"
            ),
        ),
        (with_block(type=5), "messages.0.content.1.type: Input should be a string"),
        (
            with_block(type="image", source={"type": "ftp"}),
            "messages.0.content.1.source.type: Input should be 'base64', 'url' or 'file', not 'ftp'",
        ),
        (
            with_block(type="tool_result", tool_use_id="a", content=[{"type": "thinking"}]),
            (
                "messages.0.content.1.content.0.type: Input should be 'text', 'image', 'search_result', "
                "'document', 'tool_reference' or 'browser_state', not 'thinking'"
            ),
        ),
        (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
        (body(max_tokens=None), "max_tokens: Input should be an integer, not null"),
        (body(max_tokens=1.5), "max_tokens: Input should be an integer, not a float"),
        (body(max_tokens=True), "max_tokens: Input should be an integer, not a boolean"),
        (body(temperature=1.5), "temperature: Input should be less than or equal to 1"),
        (body(stream="yes"), "stream: Input should be true or false, not a string"),
        (body(session_id=1.5), "session_id: Input should be an integer or a string, not a float"),
        (
            body(thinking={"type": "no"}),
            "thinking.type: Input should be 'enabled', 'adaptive', 'disabled' or 'between_tools', not 'no'",
        ),
        (
            body(thinking={"type": "adaptive", "display": "x" * 200}),
            "thinking.display: Input should be 'omitted', 'summarized' or 'updates', not '"
            + "x" * 79
            + "...",
        ),
        (
            body(output_config={"effort": " - at `$.b`"}),
            (
                "output_config.effort: Input should be 'high', 'low', 'max', 'medium' or 'xhigh', "
                "not ' - at `$.b`'"
            ),
        ),
        (raw('"top_k":' + "9" * 5000), "top_k: Input is out of range"),
        (raw('"context_management":1e999'), "context_management: Input is out of range"),
        (raw('"temperature":NaN'), "The request body is not valid JSON: invalid character (byte 89)."),
        (
            raw('"x":' + "[" * DEEP + "]" * DEEP),
            "x.0.0.0.0.0.0.0.0.0.0.0...: Input should not be nested deeper than 500 levels",
        ),
        (
            raw('"tools":[{"input_schema":' + '{"a":' * DEEP),
            "tools.0.input_schema.a.a.a.a.a.a.a.a.a...: Input should not be nested deeper than 500 levels",
        ),
        # of a large body only the beginning is looked at once more
        (
            raw('"x":"' + "x" * 2**20 + '","y":' + "[" * DEEP + "]" * DEEP),
            "The request body is nested too deeply.",
        ),
    ],
)
def test_a_wrong_body_is_refused_by_path(data: bytes, message: str) -> None:
    assert refusal(data) == message


def test_a_block_of_no_known_type_is_told_what_there_is() -> None:
    message = refusal(with_block(type="hologram"))
    assert message.startswith("messages.0.content.1.type: Input should be 'text', 'image', ")
    assert message.endswith("or 'tool_removal', not 'hologram'")


HALF = "The request body is not valid JSON: it holds half of a surrogate pair."


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d", "\\ud83d\\n", "a\\\\\\ud83d"])
@pytest.mark.parametrize(
    "member", ['"x":"{}"', '"{}":1', '"tools":[{{"name":"a","input_schema":{{"a":"{}"}}}}]']
)
def test_half_a_surrogate_pair_is_refused_wherever_it_is(half: str, member: str) -> None:
    assert refusal(raw(member.format(half))) == HALF


ESCAPES = st.lists(
    st.sampled_from(
        ["\\ud83d", "\\uDBFF", "\\udc00", "\\uDFFF", "\\ue000", "\\u00e9", "\\\\", "\\n", "u", "d83d", "é"]
    )
).map("".join)


@given(ESCAPES)
def test_text_is_refused_exactly_where_python_reads_half_a_pair(text: str) -> None:
    halves = any(unicodedata.category(char) == "Cs" for char in json.loads(f'"{text}"'))
    try:
        decode_messages(raw(f'"x":"{text}"'))
        found = ""
    except InvalidRequestError as error:
        found = error.message
    assert found == (HALF if halves else "")


@pytest.mark.parametrize(
    "whole", ["\\ud83d\\ude00", "\\uD83D\\uDE00", "\\\\ud83d", "\\u001b", "\\n", "\\\\\\\\ud83d"]
)
def test_whole_pairs_and_escaped_backslashes_are_text(whole: str) -> None:
    assert (
        decode_messages(raw(f'"tools":[{{"name":"a","input_schema":{{"a":"{whole}"}}}}]')).tools is not None
    )


def test_bytes_that_are_no_text_are_named_before_what_a_parser_says_of_them() -> None:
    assert refusal(raw('"x":"?"').replace(b"?", b"\xff") + b"}") == "The request body is not valid UTF-8."


def test_what_is_nested_just_below_the_limit_can_be_decoded_again_deeper() -> None:
    def deeper(calls: int, part: bytes) -> object:
        return deeper(calls - 1, part) if calls else msgspec.json.decode(part)

    def accepted(depth: int) -> bool:
        try:
            decode_messages(raw('"tools":[{"name":"a","input_schema":' + "[" * depth + "]" * depth + "}]"))
        except InvalidRequestError:
            return False
        return True

    depth = max(depth for depth in range(1000) if accepted(depth))
    assert deeper(80, b"[" * depth + b"]" * depth) != []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (msgspec.ValidationError("Something new - at `$.a[1].b`"), "a.1.b: Input is not valid"),
        (
            msgspec.ValidationError("Expected `array` of length <= 2 - at `$.a`"),
            "a: Input should have at most 2 items",
        ),
    ],
)
def test_words_of_the_decoder_that_no_body_brings_forth_today(error: Exception, message: str) -> None:
    assert explain(error, CountTokensRequest, b"{}") == message


def test_unknown_fields_are_named_by_path() -> None:
    data = body(
        foo=1,
        metadata={"user_id": "u", "team": 1},
        system=[{"type": "text", "text": "a", "x": 1}],
        messages=[
            USER | {"name": "bob"},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": "a", "y": 1}],
                    },
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "u", "z": 1},
                        "cache_control": {"w": 1},
                    },
                ],
            },
        ],
        thinking={"type": "adaptive", "budget_tokens": 5},
        tools=[{"name": "a", "input_schema": {"free": 1}, "v": 1}],
        context_management={"free": 1},
    )
    decode_messages(data)
    assert unknown_fields(data) == [
        "messages.0.name",
        "messages.1.content.0.content.0.y",
        "messages.1.content.1.source.z",
        "messages.1.content.1.cache_control.w",
        "foo",
        "metadata.team",
        "system.0.x",
        "thinking.budget_tokens",
        "tools.0.v",
        "context_management.free",
    ]


def test_a_count_knows_fewer_fields() -> None:
    assert unknown_fields(body(stream=True), CountTokensRequest) == ["max_tokens", "stream"]
    assert unknown_fields(body(stream=True)) == []


def test_strict_mode_reads_what_the_decoder_skipped() -> None:
    data = raw('"x":1e999')
    decode_messages(data)
    with pytest.raises(InvalidRequestError, match=r"^The request body: Input is out of range$"):
        unknown_fields(data)


def test_a_value_of_another_kind_has_no_unknown_fields() -> None:
    assert unknown_fields(b'{"model":{"a":1},"messages":{"a":1},"system":[1],"tools":"x"}') == []
