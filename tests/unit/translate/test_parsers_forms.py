"""Each way of writing calls: JSON, names, tags, Harmony; its variants, and what is none."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.translate.parsers import output_parser
from dragoman.wire.openai import ChatDelta, ChatTool, FunctionSpec
from tests.support.raw_output import ONE_CALL, TOOL, Parts, deepseeks, deltas_of, folded, parsed

# ---- JSON ----------------------------------------------------------------------------------------------

BROKEN = [
    "<tool_call>find it</tool_call>",
    '<tool_call>{"name": 5}</tool_call>',
    '<tool_call>{"name": "find", "arguments": 5</tool_call>',
    "<tool_call>{no json}</tool_call>",
    "<tool_call>",
    '<tool_call>{"name": "fi',
]


@pytest.mark.parametrize("raw", BROKEN)
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_is_no_call_is_text(raw: str, size: int) -> None:
    assert parsed("hermes", f"So: {raw}", size) == Parts(None, f"So: {raw}", [])


@pytest.mark.parametrize(
    ("members", "arguments"),
    [
        ('"arguments": {"n": 1}, "name": "find"', '{"n": 1}'),
        ('"name": "find"', "{}"),
        ('"name": "find", "arguments": "{\\"n\\": 1}"', '{"n": 1}'),
        ('"id": "x", "name": "find", "arguments": {}', "{}"),
        ('"name": "find", "arguments": {"n": 1}, "more": 2', '{"n": 1}'),
        ('"name": "find", "arguments": {"n": [{}, "}"]}', '{"n": [{}, "}"]}'),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_members_may_come_in_any_order(members: str, arguments: str, size: int) -> None:
    assert parsed("hermes", f"<tool_call>{{{members}}}</tool_call>", size).calls == [("find", arguments)]


def test_arguments_stream_as_they_come() -> None:
    parser = output_parser("hermes", [TOOL])
    assert parser.feed('<tool_call>{"name": "find", "arguments": {"query": "lo')[-1] == delta('{"query": "lo')
    assert parser.feed("ng") == [delta("ng")]


def delta(arguments: str) -> ChatDelta:
    return msgspec.convert({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}, ChatDelta)


def test_arguments_that_are_no_object_any_more_show_it() -> None:
    """The layers above tell an engine's fault by them; what follows is text."""
    raw = '<tool_call>{"name": "find", "arguments": {"n": oops}}</tool_call>x'
    for size in (1, 5, 10_000):
        text = "oops}}</tool_call>x"
        assert parsed("hermes", raw, size) == Parts(None, text, [("find", '{"n": ')])


def test_text_behind_a_list_of_calls_is_text() -> None:
    raw = '[TOOL_CALLS][{"name": "find", "arguments": {}}] and more'
    assert parsed("mistral_list", raw, 3) == Parts(None, "and more", [("find", "{}")])


# ---- names before arguments ----------------------------------------------------------------------------


def test_an_id_of_the_models_own_goes_along() -> None:
    (call, *_) = deltas_of("mistral", [ONE_CALL["mistral"]])
    assert call.tool_calls is not None
    assert call.tool_calls[0].id == "a1b2c3d4e"
    (call, *_) = deltas_of("kimi_k2", [ONE_CALL["kimi_k2"]])
    assert call.tool_calls is not None
    assert call.tool_calls[0].id == "functions.find:0"


@pytest.mark.parametrize("raw_format", ["deepseek", "kimi_k2"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_one_section_may_hold_several_calls(raw_format: str, size: int) -> None:
    opener = {"deepseek": deepseeks("<|tool_calls_begin|>")}.get(raw_format, "<|tool_calls_section_begin|>")
    closer = {"deepseek": deepseeks("<|tool_calls_end|>")}.get(raw_format, "<|tool_calls_section_end|>")
    one = ONE_CALL[raw_format].removeprefix(opener).removesuffix(closer)
    thinking, text, calls = parsed(raw_format, f"{opener}{one}\n{one}{closer}So.", size)
    assert (thinking, text, [name for name, _ in calls]) == (None, "So.", ["find", "find"])


@pytest.mark.parametrize(
    ("raw_format", "raw"),
    [
        ("functionary", "<function=find it>{}</function>"),
        ("functionary", "<function=find</function>"),
        ("mistral", "[TOOL_CALLS] what is {this}"),
        ("kimi_k2", "<|tool_calls_section_begin|>none<|tool_calls_section_end|>"),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_name_that_is_none_is_text(raw_format: str, raw: str, size: int) -> None:
    assert parsed(raw_format, raw, size) == Parts(None, raw, [])


def test_text_behind_named_calls_is_text() -> None:
    thinking, text, calls = parsed("mistral", "[TOOL_CALLS]find[ARGS]{} Done.", 3)
    assert (thinking, (text or "").strip(), calls) == (None, "Done.", [("find", "{}")])
    raw = "[TOOL_CALLS]find[ARGS]{}[TOOL_CALLS]what is {this}"
    assert parsed("mistral", raw, 3) == Parts(None, "what is {this}", [("find", "{}")])


# ---- tags ----------------------------------------------------------------------------------------------


def tagged(key: str, value: str) -> str:
    return f"<tool_call><function=find><parameter={key}>{value}</parameter></function></tool_call>"


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("query", "3", "3"),
        ("query", "\n\n a \n\n", "\n a \n"),
        ("n", "3", 3),
        ("n", "three", "three"),
        ("tags", '["a", 1]', ["a", 1]),
        ("mode", "1", "1"),
        ("either", "[1]", [1]),
        ("either", "1", "1"),
        ("maybe", "null", "null"),
        ("free", "true", True),
        ("odd", "1", 1),
        ("unknown", '{"a": 1}', {"a": 1}),
        ("unknown", 'a "b" \\ c', 'a "b" \\ c'),
    ],
)
def test_the_schema_says_what_a_tag_holds(key: str, value: str, read: object) -> None:
    ((_, arguments),) = parsed("qwen3_coder", tagged(key, value), 4).calls
    assert msgspec.json.decode(arguments or "") == {key: read}


@pytest.mark.parametrize(
    "parameters", [b"[]", b'{"properties": []}', b'{"properties": {"n": {"enum": []}}}', b"no"]
)
def test_a_schema_that_does_not_tell_leaves_the_value_to_itself(parameters: bytes) -> None:
    tool = ChatTool(function=FunctionSpec(name="find", parameters=msgspec.Raw(parameters)))
    parser = output_parser("qwen3_coder", [tool])
    whole = folded(parser.feed(tagged("n", "x")) + parser.close())
    assert whole.calls == [("find", '{"n": "x"}')]


def test_of_a_tool_that_nobody_declared_nothing_is_known() -> None:
    raw = tagged("n", "3").replace("find", "other")
    assert parsed("qwen3_coder", raw, 3).calls == [("other", '{"n": 3}')]


def test_a_call_without_arguments() -> None:
    raw = "<tool_call><function=find></function></tool_call>"
    assert parsed("qwen3_coder", raw, 3).calls == [("find", "{}")]
    assert parsed("glm", "<tool_call>find\n</tool_call>", 3).calls == [("find", "{}")]


@pytest.mark.parametrize(
    "raw", ["<tool_call>no tags</tool_call>", "<tool_call><b>bold</b></tool_call>", "<tool_call></tool_call>"]
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_tags_that_are_none_are_text(raw: str, size: int) -> None:
    assert parsed("qwen3_coder", raw, size) == Parts(None, raw, [])


def test_what_stands_between_tags_ends_the_call_as_it_is() -> None:
    raw = "<tool_call><function=find><parameter=n>3</parameter>oops</function></tool_call>"
    thinking, text, calls = parsed("qwen3_coder", raw, 3)
    assert (thinking, calls) == (None, [("find", '{"n": 3')])
    assert text == "oops</function></tool_call>"


def test_a_text_in_a_tag_is_cut_where_it_was() -> None:
    raw = "<tool_call><function=find><parameter=query>\nhalf a sen"
    assert parsed("qwen3_coder", raw, 3).calls == [("find", '{"query": "half a sen')]
    raw = "<tool_call><function=find><parameter=n>12"
    assert parsed("qwen3_coder", raw, 3).calls == [("find", '{"n": ')]
    raw = '<minimax:tool_call><invoke name="find">'
    assert parsed("minimax_m2", raw, 3).calls == [("find", "{")]


def test_what_remains_behind_a_call_that_closed_is_text() -> None:
    raw = "<tool_call><function=find></function>  <"
    thinking, text, calls = parsed("qwen3_coder", raw)
    assert (thinking, (text or "").strip(), calls) == (None, "<", [("find", "{}")])


# ---- harmony -------------------------------------------------------------------------------------------


def test_a_final_message_is_text() -> None:
    raw = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>So.<|return|>"
    assert parsed("gpt_oss", raw, 3) == Parts("Hm.", "So.", [])


def test_words_without_a_header_are_text() -> None:
    assert parsed("gpt_oss", "Just words <|end|>", 3) == Parts(None, "Just words ", [])
    assert parsed("gpt_oss", "<|message|>Words", 3) == Parts(None, "Words", [])


def test_a_header_without_a_body_says_nothing() -> None:
    assert parsed("gpt_oss", "<|channel|>analysis", 3) == Parts(None, None, [])
    assert parsed("gpt_oss", "<|chan", 3) == Parts(None, None, [])
    assert parsed("gpt_oss", "So.<|end|><|odd|>", 3) == Parts(None, "So.<|odd|>", [])
    assert parsed("gpt_oss", "So.<|e", 3) == Parts(None, "So.<|e", [])
