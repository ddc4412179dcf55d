"""The legal orders of a message stream's events, as a table.

Every event passes `StreamGrammar.advance` before it is written. The table knows the Messages API only.
"""

from __future__ import annotations

from enum import StrEnum

from dragoman.errors import ApiError


class State(StrEnum):
    """Where a stream stands."""

    NEW = "new"
    BETWEEN_BLOCKS = "between_blocks"
    IN_TEXT = "in_text"
    IN_THINKING = "in_thinking"
    SIGNED = "signed"
    IN_TOOL_USE = "in_tool_use"
    IN_SERVER_TOOL_USE = "in_server_tool_use"
    IN_SERVER_RESULT = "in_server_result"
    ENDING = "ending"
    DONE = "done"
    FAILED = "failed"


class EventKind(StrEnum):
    """An event as far as its order matters: block events are told apart by the block's type."""

    MESSAGE_START = "message_start"
    PING = "ping"
    TEXT_START = "text_start"
    TEXT_DELTA = "text_delta"
    THINKING_START = "thinking_start"
    THINKING_DELTA = "thinking_delta"
    SIGNATURE_DELTA = "signature_delta"
    TOOL_USE_START = "tool_use_start"
    SERVER_TOOL_USE_START = "server_tool_use_start"
    SERVER_RESULT_START = "server_result_start"
    INPUT_JSON_DELTA = "input_json_delta"
    BLOCK_STOP = "block_stop"
    MESSAGE_DELTA = "message_delta"
    MESSAGE_STOP = "message_stop"
    ERROR = "error"


TRANSITIONS: dict[State, dict[EventKind, State]] = {
    State.NEW: {
        EventKind.MESSAGE_START: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    State.BETWEEN_BLOCKS: {
        EventKind.PING: State.BETWEEN_BLOCKS,
        EventKind.TEXT_START: State.IN_TEXT,
        EventKind.THINKING_START: State.IN_THINKING,
        EventKind.TOOL_USE_START: State.IN_TOOL_USE,
        EventKind.SERVER_TOOL_USE_START: State.IN_SERVER_TOOL_USE,
        EventKind.SERVER_RESULT_START: State.IN_SERVER_RESULT,
        EventKind.MESSAGE_DELTA: State.ENDING,
        EventKind.ERROR: State.FAILED,
    },
    State.IN_TEXT: {
        EventKind.PING: State.IN_TEXT,
        EventKind.TEXT_DELTA: State.IN_TEXT,
        EventKind.BLOCK_STOP: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    # A thinking block closes only once it is signed: an SDK that never sees a signature breaks.
    State.IN_THINKING: {
        EventKind.PING: State.IN_THINKING,
        EventKind.THINKING_DELTA: State.IN_THINKING,
        EventKind.SIGNATURE_DELTA: State.SIGNED,
        EventKind.ERROR: State.FAILED,
    },
    State.SIGNED: {
        EventKind.PING: State.SIGNED,
        EventKind.BLOCK_STOP: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    State.IN_TOOL_USE: {
        EventKind.PING: State.IN_TOOL_USE,
        EventKind.INPUT_JSON_DELTA: State.IN_TOOL_USE,
        EventKind.BLOCK_STOP: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    State.IN_SERVER_TOOL_USE: {
        EventKind.PING: State.IN_SERVER_TOOL_USE,
        EventKind.INPUT_JSON_DELTA: State.IN_SERVER_TOOL_USE,
        EventKind.BLOCK_STOP: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    # What a server's tool gave back comes whole, with the start of its block.
    State.IN_SERVER_RESULT: {
        EventKind.PING: State.IN_SERVER_RESULT,
        EventKind.BLOCK_STOP: State.BETWEEN_BLOCKS,
        EventKind.ERROR: State.FAILED,
    },
    State.ENDING: {
        EventKind.PING: State.ENDING,
        EventKind.MESSAGE_STOP: State.DONE,
        EventKind.ERROR: State.FAILED,
    },
    State.DONE: {},
    State.FAILED: {},
}

# Events that name a block by its index.
_BLOCK_EVENTS = frozenset(
    {
        EventKind.TEXT_START,
        EventKind.THINKING_START,
        EventKind.TOOL_USE_START,
        EventKind.SERVER_TOOL_USE_START,
        EventKind.SERVER_RESULT_START,
        EventKind.TEXT_DELTA,
        EventKind.THINKING_DELTA,
        EventKind.SIGNATURE_DELTA,
        EventKind.INPUT_JSON_DELTA,
        EventKind.BLOCK_STOP,
    }
)


class GrammarError(ApiError):
    """An event that may not come now: our own bug, never the engine's or the client's."""

    def __init__(
        self, state: State, kind: EventKind, index: int | None = None, expected: int | None = None
    ) -> None:
        where = "" if index == expected else f" with index {index} instead of {expected}"
        super().__init__(
            "Internal error: the answer could not be continued.", log_detail=f"{kind} in state {state}{where}"
        )


class StreamGrammar:
    """One stream's place in the table; `index` is that of the open block, else of the next one."""

    __slots__ = ("_row", "index", "state")

    def __init__(self) -> None:
        self.state = State.NEW
        self.index = 0
        self._row = TRANSITIONS[State.NEW]

    def advance(self, kind: EventKind, index: int | None = None) -> None:
        """Takes one event, or raises `GrammarError` and stays.

        Events of a block name its `index`, the others none.
        """
        state = self._row.get(kind)
        expected = self.index if kind in _BLOCK_EVENTS else None
        if state is None or index != expected:
            raise GrammarError(self.state, kind, index, expected)
        if state is not self.state:
            self.state = state
            self._row = TRANSITIONS[state]
            if kind is EventKind.BLOCK_STOP:
                self.index += 1


def states_mermaid() -> str:
    """The table as a Mermaid state diagram; errors, legal wherever there is a way out, are one note."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.NEW}"]
    for state, row in TRANSITIONS.items():
        ways: dict[State, list[str]] = {}
        for kind, target in row.items():
            if kind is not EventKind.ERROR:
                ways.setdefault(target, []).append(kind)
        lines += [f"    {state} --> {target}: {' | '.join(kinds)}" for target, kinds in ways.items()]
    lines += [
        f"    {State.DONE} --> [*]",
        f"    {State.FAILED} --> [*]",
        f"    note right of {State.FAILED}: error, from any state but {State.DONE}",
    ]
    return "\n".join(lines) + "\n"
