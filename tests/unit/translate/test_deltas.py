"""Which call a piece belongs to, and what a call makes of its pieces."""

from __future__ import annotations

import pytest

from dragoman.errors import EngineFaultError
from dragoman.translate.deltas import Call, CallTable, Stage
from dragoman.wire.openai import ToolCallDelta
from tests.support.answers import piece


def numbers(*pieces: ToolCallDelta) -> list[int]:
    """The number of the call that each piece belongs to; each call takes its pieces."""
    table, found = CallTable(), []
    for one in pieces:
        call = table.find(one)
        call.absorb(one)
        found.append(call.number)
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # by index, whatever else is there
        ([piece("{", "f", "a", 0), piece("{", "g", "b", 1), piece("}", None, None, 0)], [0, 1, 0]),
        ([piece("{", "f", "a", 0), piece("}", None, "a", 0)], [0, 0]),
        ([piece("{", "f", "a", 0), piece("}", "f", "b", 0)], [0, 0]),
        ([piece("{", "f", "a", 0), piece("}", None, "b", 0)], [0, 0]),
        # every call has index 0: another id with a name is another call
        ([piece("{}", "f", "a", 0), piece("{}", "f", "b", 0), piece("", None, "b", 0)], [0, 1, 1]),
        ([piece("", "f", "a", 0), piece("", "g", "b", 0)], [0, 1]),
        ([piece("{}", "f", None, 0), piece(" ", "f", "b", 0)], [0, 0]),
        # no index: by id
        ([piece("{", "f", "a", None), piece("{", "g", "b", None), piece("}", None, "a", None)], [0, 1, 0]),
        ([piece("{", "f", "a", 3), piece("}", None, "a", None)], [0, 0]),
        # neither: a name begins a call, other pieces go on
        ([piece("{", "f", None, None), piece("}", None, None, None)], [0, 0]),
        ([piece("{}", "f", None, None), piece("{}", "f", None, None)], [0, 1]),
        ([piece("", "f", None, None), piece("", "g", None, None)], [0, 1]),
        ([piece("{", "f", None, None), piece("}", "f", None, None)], [0, 0]),
        ([piece("{", None, None, None), piece("}", None, None, None)], [0, 0]),
        ([piece("{", "f", "a", None), ToolCallDelta(), piece("}", None, None, None)], [0, 0, 0]),
        ([ToolCallDelta(index=0), ToolCallDelta(index=1, id="x"), piece("{}", "f", None, 0)], [0, 1, 0]),
    ],
)
def test_a_piece_finds_its_call(pieces: list[ToolCallDelta], expected: list[int]) -> None:
    assert numbers(*pieces) == expected


def test_a_call_keeps_its_first_id_and_gathers_its_name() -> None:
    call = Call(0)
    taken = [
        call.absorb(piece(None, "get_", None)),
        call.absorb(piece("", "weather", "a")),
        call.absorb(piece(" {", "get_weather", "b")),
        call.absorb(piece("} \n", None, "")),
        call.absorb(piece("\n")),
    ]
    assert taken == ["", "", " {", "}", ""]
    assert (call.engine_id, call.name, call.arguments, call.ready) == ("a", "get_weather", " {}", True)


def test_a_call_without_a_name_is_not_ready() -> None:
    call = Call(0)
    call.absorb(piece("{}"))
    assert call.scanner.complete
    assert not call.ready


@pytest.mark.parametrize("stage", [Stage.BEGUN, Stage.CLOSED])
def test_a_name_cannot_change_once_the_client_saw_it(stage: Stage) -> None:
    call = Call(4)
    call.absorb(piece("{", "f"))
    call.stage = stage
    call.absorb(piece(None, "f"))
    with pytest.raises(EngineFaultError, match="changed the name") as caught:
        call.absorb(piece(None, "g"))
    assert caught.value.log_detail == "call 4"


def test_text_that_is_no_object_is_the_engines_fault() -> None:
    call = Call(2)
    call.absorb(piece('{"a": 1}', "f"))
    with pytest.raises(EngineFaultError, match="not a JSON object") as caught:
        call.absorb(piece('{"a": 1}'))
    assert caught.value.log_detail == "call 2: no JSON object at character 8"
    assert "character" not in caught.value.message


def test_a_number_is_kept_back_until_it_is_over() -> None:
    call = Call(0)
    taken = [call.absorb(piece(text, "f")) for text in ('{"a": 1', "2", "0", ', "b": [-', "1]", "}")]
    assert taken == ['{"a": ', "", "", '120, "b": [', "-1]", "}"]
    assert call.shown == call.arguments == '{"a": 120, "b": [-1]}'


def test_input_is_the_object_or_its_complete_members() -> None:
    call = Call(0)
    assert call.input == "{}"
    call.absorb(piece('{"a": [1, {"b": "x'))
    assert call.input == '{"a": [1, {}]}'
    call.absorb(piece('"}]}'))
    assert call.input == '{"a": [1, {"b": "x"}]}'
