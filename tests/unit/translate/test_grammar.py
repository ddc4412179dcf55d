"""The table of legal event orders, and the walk over it."""

from __future__ import annotations

import pytest

from dragoman.errors import ApiError
from dragoman.translate.grammar import (
    TRANSITIONS,
    EventKind,
    GrammarError,
    State,
    StreamGrammar,
    states_mermaid,
)

K = EventKind
A_WHOLE_MESSAGE: list[tuple[EventKind, int | None]] = [
    (K.MESSAGE_START, None),
    (K.PING, None),
    (K.THINKING_START, 0),
    (K.THINKING_DELTA, 0),
    (K.PING, None),
    (K.SIGNATURE_DELTA, 0),
    (K.BLOCK_STOP, 0),
    (K.TEXT_START, 1),
    (K.TEXT_DELTA, 1),
    (K.TEXT_DELTA, 1),
    (K.BLOCK_STOP, 1),
    (K.TOOL_USE_START, 2),
    (K.INPUT_JSON_DELTA, 2),
    (K.BLOCK_STOP, 2),
    (K.TOOL_USE_START, 3),
    (K.BLOCK_STOP, 3),
    (K.MESSAGE_DELTA, None),
    (K.MESSAGE_STOP, None),
]


def after(*events: tuple[EventKind, int | None]) -> StreamGrammar:
    """A grammar that took these events."""
    grammar = StreamGrammar()
    for kind, index in events:
        grammar.advance(kind, index)
    return grammar


def test_a_whole_message_is_legal() -> None:
    grammar = after(*A_WHOLE_MESSAGE)
    assert grammar.state is State.DONE
    assert grammar.index == 4


def test_a_message_without_blocks_is_legal() -> None:
    assert after((K.MESSAGE_START, None), (K.MESSAGE_DELTA, None), (K.MESSAGE_STOP, None)).state is State.DONE


@pytest.mark.parametrize("length", range(len(A_WHOLE_MESSAGE)))
def test_an_error_ends_a_stream_anywhere_before_its_end(length: int) -> None:
    grammar = after(*A_WHOLE_MESSAGE[:length], (K.ERROR, None))
    assert grammar.state is State.FAILED


@pytest.mark.parametrize("length", range(len(A_WHOLE_MESSAGE) + 1))
def test_every_event_that_the_table_lacks_is_refused_and_changes_nothing(length: int) -> None:
    grammar = after(*A_WHOLE_MESSAGE[:length])
    state, index = grammar.state, grammar.index
    for kind in set(EventKind) - set(TRANSITIONS[state]):
        for given in (None, index):
            with pytest.raises(GrammarError):
                grammar.advance(kind, given)
    assert (grammar.state, grammar.index) == (state, index)


@pytest.mark.parametrize("index", [None, 0, 2, -1])
@pytest.mark.parametrize("kind", [K.TEXT_START, K.THINKING_START, K.TOOL_USE_START])
def test_a_block_begins_with_the_next_index(kind: EventKind, index: int | None) -> None:
    grammar = after((K.MESSAGE_START, None), (K.TEXT_START, 0), (K.BLOCK_STOP, 0))
    with pytest.raises(GrammarError):
        grammar.advance(kind, index)


@pytest.mark.parametrize("kind", [K.TEXT_DELTA, K.BLOCK_STOP])
def test_what_is_inside_a_block_has_its_index(kind: EventKind) -> None:
    grammar = after((K.MESSAGE_START, None), (K.TEXT_START, 0))
    with pytest.raises(GrammarError) as caught:
        grammar.advance(kind, 1)
    assert caught.value.log_detail == f"{kind} in state in_text with index 1 instead of 0"


def test_events_without_block_have_no_index() -> None:
    with pytest.raises(GrammarError):
        after((K.MESSAGE_START, None), (K.PING, 0))


def test_a_thinking_block_cannot_close_unsigned() -> None:
    with pytest.raises(GrammarError) as caught:
        after((K.MESSAGE_START, None), (K.THINKING_START, 0), (K.BLOCK_STOP, 0))
    assert caught.value.log_detail == "block_stop in state in_thinking"


def test_a_violation_is_our_fault_and_shows_no_internals() -> None:
    error = GrammarError(State.NEW, K.PING)
    assert isinstance(error, ApiError)
    assert error.status == 500
    assert "new" not in error.message


def test_the_table_is_closed_and_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    reached, found = {State.NEW}, [State.NEW]
    while found:
        new = set(TRANSITIONS[found.pop()].values()) - reached
        reached |= new
        found += new
    assert reached == set(State)


def test_the_diagram_shows_every_transition() -> None:
    diagram = states_mermaid()
    assert diagram.startswith("stateDiagram-v2\n    [*] --> new\n")
    for state, row in TRANSITIONS.items():
        for kind, target in row.items():
            edges = [line for line in diagram.splitlines() if line.startswith(f"    {state} --> {target}: ")]
            drawn = " ".join(edges).split()
            assert kind in drawn or kind is K.ERROR
