"""What an answer must hold: its text's form, strict tools' input, the forced call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import EngineFaultError, InvalidRequestError
from dragoman.translate.answer import StreamOptions
from dragoman.translate.conformity import MOST_LEVELS, Expected, validator_of
from dragoman.translate.stream import MessageStream
from dragoman.wire.openai import ChatChunk
from tests.support.answers import (
    blocks,
    called,
    completion,
    counted,
    ends,
    events,
    finished,
    of_type,
    options,
    piece,
    said,
    seal,
    streamed,
    whole,
)
from tests.support.translation import assistant, system, tool, translated, user

NUMBER = b'{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
PATH = "output_config.format.schema"
IN_FORM = Expected(text=validator_of(NUMBER, PATH))
STRICT = Expected(inputs={"f": validator_of(NUMBER, "tools.0.input_schema")})
ANY = Expected(call=True)
F = Expected(call=True, only="f")
ONE_F = Expected(call=True, only="f", single=True)


def expecting(expected: Expected, *chunks: ChatChunk, finish: str = "stop", **changes: Any) -> bytes:
    """The events of an answer of which something is expected."""
    spent = 100 if finish == "length" else 5
    return streamed([*chunks, finished(finish), counted(10, spent)], expected=expected, **changes)


def fault(raw: bytes) -> str:
    """The words of the error that ends a stream without a `message_delta`."""
    names = [event["type"] for event in events(raw)]
    assert names[-1] == "error"
    assert "message_delta" not in names
    words: str = events(raw)[-1]["error"]["message"]
    return words


def a_call(number: int, name: str, arguments: str = "{}") -> ChatChunk:
    """A complete call."""
    return called(piece(arguments, name, f"c{number}", number))


def asks(**fields: Any) -> Expected | None:
    """What a request with these fields demands."""
    return translated(**fields).expected


def form(schema: object) -> dict[str, Any]:
    """The output_config of a format."""
    return {"format": {"type": "json_schema", "schema": schema}}


def refusal(**fields: Any) -> str:
    """The words of the 400."""
    with pytest.raises(InvalidRequestError) as caught:
        translated(**fields)
    return caught.value.message


# ---- the text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"n": 1}', ' {"n":1,"m":[]}\n'])
def test_text_of_the_form_is_an_answer(text: str) -> None:
    raw = expecting(IN_FORM, said(text[:3]), said(text[3:]))
    assert ends(raw) == ("end_turn", None)
    assert blocks(raw)[0]["text"] == text


@pytest.mark.parametrize(
    "text", ["Hello", '{"n": 1', '{"n": "x"}', "[1]", "{}", '{"n":1} and more', "[" * 5000]
)
def test_text_that_is_not_of_the_form_is_a_fault(text: str) -> None:
    assert fault(expecting(IN_FORM, said(text))).endswith("not of the schema in output_config.format.")
    with pytest.raises(EngineFaultError):
        whole(completion(text), expected=IN_FORM)


def test_an_answer_without_text_is_a_fault() -> None:
    fault(expecting(IN_FORM))
    fault(expecting(IN_FORM, said(reasoning="Hm.")))


def test_every_text_block_has_the_form() -> None:
    fault(expecting(IN_FORM, said('{"n"'), said(reasoning="Hm."), said(": 1}")))


def test_the_fault_tells_the_log_no_content() -> None:
    stream = MessageStream(options(expected=IN_FORM), seal)
    stream.start(5)
    stream.feed([said('{"n": "secret"}'), finished()])
    stream.end()
    assert stream.fault is not None
    assert stream.fault.log_detail == "not valid"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_cut_text_is_not_checked(finish: str) -> None:
    assert ends(expecting(IN_FORM, said('{"n'), finish=finish))[0] in {"max_tokens", "refusal"}


def test_a_text_that_a_stop_sequence_cut_is_not_checked() -> None:
    raw = streamed([said('{"n'), finished(matched="x"), counted()], expected=IN_FORM)
    assert ends(raw) == ("stop_sequence", "x")


def test_a_refusal_in_words_is_not_checked() -> None:
    assert ends(expecting(IN_FORM, said(refusal="I will not."))) == ("end_turn", None)


def test_text_before_a_call_is_not_checked() -> None:
    assert ends(expecting(IN_FORM, said("I call."), a_call(0, "g")))[0] == "tool_use"


def test_no_more_text_is_kept_than_there_is_room_for() -> None:
    assert "more than this server keeps" in fault(expecting(IN_FORM, said("x" * 300), held_bytes=299))


# ---- input of strict tools --------------------------------------------------------------------------------


def test_input_of_a_strict_tool_is_checked() -> None:
    assert ends(expecting(STRICT, a_call(0, "f", '{"n":1}'), a_call(1, "g", '{"n":"x"}')))[0] == "tool_use"
    assert "strict tool" in fault(expecting(STRICT, a_call(0, "f", '{"n":1}'), a_call(1, "f", '{"n":"x"}')))


def test_a_cut_call_is_not_checked_a_complete_one_before_it_is() -> None:
    assert ends(expecting(STRICT, a_call(0, "f", '{"n":'), finish="length"))[0] == "max_tokens"
    fault(expecting(STRICT, a_call(0, "f", "{}"), a_call(1, "f", '{"n":'), finish="length"))


# ---- forced calls -----------------------------------------------------------------------------------------


def test_the_other_tool_is_left_out_wherever_it_stands() -> None:
    wrong, right = a_call(0, "g", '{"a":1}'), a_call(1, "f")
    for chunks in ([wrong, right], [a_call(0, "f"), a_call(1, "g")]):
        stream = MessageStream(options(expected=F), seal)
        raw = stream.start(5) + b"".join(stream.feed([chunk]) for chunk in chunks)
        raw += stream.feed([finished("tool_calls"), counted()]) + stream.end()
        assert [(block["type"], block["name"]) for block in blocks(raw)] == [("tool_use", "f")]
        assert next(event["index"] for event in events(raw) if "index" in event) == 0
        assert ends(raw)[0] == "tool_use"
        assert stream.undelivered_calls == 1
        assert len(stream.calls) == 1


def test_of_one_call_the_first_right_one_is_delivered() -> None:
    chunks = [a_call(0, "g"), a_call(1, "f", '{"a":1}'), a_call(2, "f", '{"a":2}')]
    raw = expecting(ONE_F, *chunks, parallel=False)
    assert [block["input"] for block in blocks(raw)] == [{"a": 1}]


@pytest.mark.parametrize("chunks", [[], [said("No.")], [a_call(0, "g")]])
def test_without_the_named_call_there_is_no_answer(chunks: list[ChatChunk]) -> None:
    assert "tool_choice names" in fault(expecting(F, *chunks))


def test_without_any_call_there_is_no_answer_where_one_must_be() -> None:
    assert "tool_choice demands" in fault(expecting(ANY, said("No.")))
    assert ends(expecting(ANY, a_call(0, "f")))[0] == "tool_use"


def test_an_answer_that_was_cut_before_its_call_is_one() -> None:
    assert ends(expecting(F, said("I"), finish="length"))[0] == "max_tokens"
    assert ends(expecting(ANY, said("I"), finish="length"))[0] == "max_tokens"


def test_a_message_has_a_block_where_all_that_came_was_left_out() -> None:
    raw = expecting(F, a_call(0, "g", '{"a":'), finish="length")
    assert of_type(blocks(raw)) == ["text"]
    assert ends(raw)[0] == "max_tokens"


def test_thinking_goes_through() -> None:
    raw = expecting(F, said(reasoning="Hm."), said(reasoning=" So."), a_call(0, "f"))
    assert of_type(blocks(raw)) == ["thinking", "tool_use"]


# ---- what a request demands -------------------------------------------------------------------------------


def test_a_plain_request_demands_nothing() -> None:
    assert asks(tools=[tool()], tool_choice={"type": "auto"}) is None
    assert StreamOptions(message_id="m", model="m", max_tokens=1).expected is None


def test_formats_strict_tools_and_forced_calls_are_demands() -> None:
    found = asks(output_config=form({"type": "object"}))
    assert found is not None
    assert (found.text is not None, found.call) == (True, False)
    found = asks(tools=[tool("a"), tool("f", strict=True), tool("g", strict=True, defer_loading=True)])
    assert found is not None
    assert sorted(found.inputs) == ["f", "g"]
    one = {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert asks(tools=[tool()], tool_choice=one) == Expected(call=True, only="f", single=True)
    assert asks(tools=[tool()], tool_choice={"type": "any"}) == Expected(call=True)


INTEGER = {"type": "object", "properties": {"q": {"type": "integer"}}, "required": ["q"]}


def inline(**fields: Any) -> dict[str, Any]:
    """A system turn that adds the strict tool `f` by value."""
    added = {"type": "tool_definition", "definition": tool("f", strict=True, **fields)}
    return system({"type": "tool_addition", "tool": added})


def test_a_strict_tool_that_a_system_turn_defines_is_a_demand() -> None:
    turns = [user("go"), inline(input_schema=INTEGER)]
    for tools in ([tool("a")], [tool("f", strict=True)], [tool("f")]):
        found = translated(messages=turns, tools=tools)
        assert found.expected is not None
        assert "strict tool" in fault(expecting(found.expected, a_call(0, "f", '{"q":"x"}')))
        assert ends(expecting(found.expected, a_call(0, "f", '{"q":1}')))[0] == "tool_use"
        assert found.chat.schema_places == {"f": "messages.1.content.0.tool.definition.input_schema"}
    broken = {"type": "object", "properties": {"q": {"type": "objekt"}}}
    assert refusal(tools=[tool()], messages=[user("go"), inline(input_schema=broken)]).startswith(
        "messages.1.content.0.tool.definition.input_schema.properties.q.type: "
    )
    assert refusal(tools=[tool("f", strict=True, input_schema=broken)], messages=turns).startswith("tools.0.")


def test_a_tool_defined_anew_without_strict_is_no_demand_any_more() -> None:
    plain = {"type": "tool_definition", "definition": tool("f")}
    turns = [user("go"), system({"type": "tool_addition", "tool": plain})]
    assert asks(tools=[tool("f", strict=True, input_schema=INTEGER)], messages=turns) is None


def test_the_tool_that_stands_for_nothing_demands_nothing() -> None:
    placeholder = tool("DeferredToolPlaceholder", strict=True, defer_loading=True)
    assert asks(tools=[tool(), placeholder]) is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "objekt"}, '.type: "objekt" is not valid'),
        ({"properties": {"a": {"minimum": "x"}}}, '.properties.a.minimum: "x" is not of type "number"'),
        (
            {"$ref": "https://example.com/x"},
            ": `$ref` may only point into the same schema: 'https://example.com/x'",
        ),
        ({"$ref": "file:///etc/passwd"}, ": `$ref` may only point into the same schema"),
        ({"$defs": {"x": {"$ref": "other.json"}}}, ": `$ref` may only point into the same schema"),
        ({"$ref": "#/$defs/none"}, ": Pointer '/$defs/none' does not exist"),
        (
            {"$id": "urn:x", "not": {"$ref": "urn:x#/$defs/a"}, "$defs": {"a": {}}},
            ": `$ref` may only be a path",
        ),
        ({"pattern": "("}, '.pattern: "(" is not a "regex"'),
    ],
)
def test_a_schema_that_is_none_is_refused_by_its_path(schema: Any, words: str) -> None:
    assert refusal(output_config=form(schema)).startswith(PATH + words)
    strict = tool(strict=True, input_schema={"type": "object", "properties": {"q": schema}})
    assert refusal(tools=[strict]).startswith("tools.0.input_schema")
    # of a plain tool nothing is demanded
    assert asks(tools=[tool(input_schema={"type": "object", "properties": {"q": schema}})]) is None


def nested(levels: int) -> bytes:
    """A schema of so many levels of objects."""
    return b'{"not":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_a_schema_that_is_nested_too_deep_is_refused_where_it_is() -> None:
    assert validator_of(nested(MOST_LEVELS), PATH).is_valid(1) is False
    with pytest.raises(InvalidRequestError) as caught:
        validator_of(nested(MOST_LEVELS + 1), PATH)
    steps = ".".join(["not"] * 12)
    assert caught.value.message == (
        f"{PATH}.{steps}...: the schema is nested deeper than 250 levels of arrays and objects"
    )


def test_a_schema_whose_end_is_nested_too_deep_is_refused() -> None:
    for levels in (260, 1000, 5000):
        long = b'{"description":"%b","not":%b}' % (b"x" * 2**20, nested(levels))
        with pytest.raises(InvalidRequestError, match="nested too deep"):
            validator_of(long, PATH)


def test_a_prefilled_answer_cannot_have_a_form() -> None:
    turns = [user("go"), assistant({"type": "text", "text": "{"})]
    assert refusal(messages=turns, output_config=form({})).startswith("output_config.format: ")


@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^(?=a)((a|aa)+)\1$"])
def test_no_pattern_takes_long(pattern: str) -> None:
    schema = msgspec.json.encode({"type": "object", "properties": {"n": {"pattern": pattern}}})
    expected = Expected(text=validator_of(schema, PATH))
    fault(expecting(expected, said(f'{{"n": "{"a" * 5000}b"}}')))


def chain(length: int, link: Any) -> dict[str, Any]:
    """A small schema in which references lead twice from each link to the next."""
    links = {f"l{number}": link({"$ref": f"#/$defs/l{number - 1}"}) for number in range(1, length + 1)}
    return {"$ref": f"#/$defs/l{length}", "$defs": {"l0": {"type": "object"}, **links}}


@pytest.mark.parametrize(
    "link",
    [
        lambda ref: {"anyOf": [ref, ref]},
        lambda ref: {"properties": {"$defs": ref, "enum": ref}},
        lambda ref: {"properties": {"a": {"if": ref, "then": True, "else": ref}}},
        lambda ref: {"items": ref, "contains": ref, "enum": [{}]},
    ],
)
def test_a_schema_that_grows_with_its_references_is_refused(link: Any) -> None:
    assert refusal(output_config=form(chain(40, link))) == (
        f"{PATH}: the schema is too large with its references followed"
    )
    assert asks(output_config=form(chain(8, link))) is not None


def test_an_answer_of_another_form_is_found_at_once_whatever_the_schema() -> None:
    schema = msgspec.json.encode(chain(14, lambda ref: {"anyOf": [ref, ref]}))
    fault(expecting(Expected(text=validator_of(schema, PATH)), said('"x"')))
