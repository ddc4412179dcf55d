"""Raw model output to deltas: every format, whole, cut anywhere, broken."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engines.whole import fold
from dragoman.translate.parsers import FORMATS, output_parser
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
EACH = pytest.mark.parametrize("raw_format", sorted(FORMATS))


def thinking_of(raw_format: str) -> tuple[str, str]:
    return THOUGHTS.get(raw_format, ("<think>", "</think>"))


def test_every_format_is_tried() -> None:
    assert ONE_CALL.keys() == FORMATS


@EACH
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_call_is_one(raw_format: str, size: int) -> None:
    thinking, text, calls = parsed(raw_format, ONE_CALL[raw_format], size)
    assert (thinking, (text or "").strip()) == (None, "")
    ((name, arguments),) = calls
    assert name == "find"
    assert msgspec.json.decode(arguments or "") == {"query": "a } b", "n": 3}


@EACH
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_thinking_text_and_a_call_come_in_order(raw_format: str, size: int) -> None:
    opener, closer = thinking_of(raw_format)
    spoken = "" if raw_format == "llama3" else "Let me see."
    if raw_format == "gpt_oss":
        spoken = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
    raw = f"{opener}Hm < m.{closer}{spoken}{ONE_CALL[raw_format]}"
    if raw_format == "llama3":
        raw = f"{opener}Hm < m.{closer}Let me see.<|python_tag|>{ONE_CALL[raw_format]}"
    thinking, text, calls = parsed(raw_format, raw, size)
    assert (thinking, (text or "").strip()) == ("Hm < m.", "Let me see.")
    assert [name for name, _ in calls] == ["find"]


@EACH
def test_several_calls_keep_their_order(raw_format: str) -> None:
    one = ONE_CALL[raw_format]
    if raw_format == "mistral_list":
        one = one.removesuffix("]")
    joint = {"mistral_list": ", ", "llama3": "; ", "gpt_oss": "<|start|>assistant"}.get(raw_format, "")
    raw = joint.join([one, one.removeprefix("[TOOL_CALLS][") if raw_format == "mistral_list" else one])
    _, text, calls = parsed(raw_format, raw, 5)
    assert (text or "").strip() == ""
    assert [name for name, _ in calls] == ["find", "find"]
    assert [msgspec.json.decode(arguments or "")["n"] for _, arguments in calls] == [3, 3]


@EACH
def test_text_is_text(raw_format: str) -> None:
    plain = "No < markers > here, but {braces}, [lists] and <tags>.\n\n<think>late</think>"
    assert parsed(raw_format, plain, 3) == Parts(None, plain, [])
    assert parsed(raw_format, "", 3) == Parts(None, None, [])


@EACH
def test_an_answer_that_begins_inside_of_thinking(raw_format: str) -> None:
    closer = {"gpt_oss": "<|end|><|start|>assistant<|channel|>final<|message|>"}.get(
        raw_format, thinking_of(raw_format)[1]
    )
    assert parsed(raw_format, f"Hm.{closer}So.", 2, in_thinking=True) == Parts("Hm.", "So.", [])
    assert parsed(raw_format, "Hm.", 2, in_thinking=True) == Parts("Hm.", None, [])


@EACH
@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_a_call_that_is_cut_stays_cut(raw_format: str, size: int) -> None:
    """Wherever it is cut: what came of its arguments, or of its marker, is there; nothing is made up."""
    raw = ONE_CALL[raw_format]
    whole = parsed(raw_format, raw).calls[0][1] or ""
    for end in range(1, len(raw)):
        thinking, text, calls = parsed(raw_format, raw[:end], size)
        assert thinking is None
        if calls:
            ((name, arguments),) = calls
            assert name == "find"
            assert whole.startswith((arguments or "").rstrip(": ")), raw[:end]
        else:
            assert raw_format == "gpt_oss" or (text or "") == raw[:end]


@EACH
@given(data=st.data())
def test_however_it_is_cut_it_says_the_same(raw_format: str, data: st.DataObject) -> None:
    """Any mixture of the format's own pieces and other text, legal or not."""
    opener, closer = thinking_of(raw_format)
    one = ONE_CALL[raw_format]
    at = data.draw(st.integers(0, len(one)))
    pieces = st.sampled_from(
        [opener, closer, one, one[:at], one[at:], "text", " ", "\n", "<", "{", "}", "[", ">"]
    )
    raw = "".join(data.draw(st.lists(pieces, max_size=7)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=9)))
    cut = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    in_thinking = data.draw(st.booleans())
    whole = folded(deltas_of(raw_format, [raw], in_thinking=in_thinking))
    assert folded(deltas_of(raw_format, cut, in_thinking=in_thinking)) == whole


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
