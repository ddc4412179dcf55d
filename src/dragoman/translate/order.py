"""The order of blocks: one open at a time, what belongs to another waits, one block for each call.

`BlockOrder` takes what the engine said, piece by piece, and tells a sink what to open, to add and to close.
A stream and a whole answer use the same order, so they are the same message.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import NamedTuple, Protocol

from dragoman.errors import EngineFaultError
from dragoman.translate.deltas import Call, Stage
from dragoman.translate.ids import call_id_out
from dragoman.wire.openai import ToolCallDelta

# What one waiting thing costs beside its text, so that the bound also holds for very many empty ones.
_ITEM_BYTES = 256


class BlockSink(Protocol):
    """What blocks are written to, one after the other."""

    def open_text(self) -> None:
        """A text block begins."""

    def text(self, text: str) -> None:
        """More of the open text block."""

    def close_text(self) -> None:
        """The text block ends."""

    def open_thinking(self) -> None:
        """A thinking block begins."""

    def thinking(self, text: str) -> None:
        """More of the open thinking block."""

    def close_thinking(self, thought: str) -> None:
        """The thinking block ends; `thought` is all of it."""

    def open_call(self, call: Call) -> None:
        """The block of a call begins: its id and name are known."""

    def arguments(self, text: str) -> None:
        """More of the open call's arguments."""

    def close_call(self, call: Call) -> None:
        """The block of a call ends."""


class ServerCall(NamedTuple):
    """A complete call of a tool that runs on this server."""

    our_id: str
    name: str
    arguments: str


class Round(NamedTuple):
    """One of the engine's answers that make up a message.

    first_call: how many calls the message has already. follows: it goes on with a message that has content.
    server_tools: names whose calls run on this server.
    """

    first_call: int = 0
    follows: bool = False
    server_tools: frozenset[str] = frozenset()


FIRST = Round()


class Cut(Enum):
    """What may have ended an answer before the model was done, so that a call may be unfinished.

    PERHAPS: near the end of the context. Then only what is seen to be unfinished counts as cut.
    """

    NOT = auto()
    PERHAPS = auto()
    BY_STOP = auto()
    BY_LENGTH = auto()


class _Open(Enum):
    NOTHING = auto()
    TEXT = auto()
    THINKING = auto()
    CALL = auto()


class _Run:
    """Text or thinking that waits."""

    __slots__ = ("kind", "pieces")

    def __init__(self, kind: _Open) -> None:
        self.kind = kind
        self.pieces: list[str] = []


class BlockOrder:
    """The order of one answer's blocks.

    `held_bytes` bounds what waits; beyond it, and for a call that is no call, an `EngineFaultError` is
    raised and nothing may follow. `parallel` False delivers the first call only; the others are counted in
    `undelivered`. `calls` are the complete ones (our id, argument text); `cut_calls` counts those that were
    cut. `round_` says where in its message the answer stands, and which tools run here: `server_calls` are
    the complete calls of those.
    """

    def __init__(
        self, sink: BlockSink, *, message_id: str, held_bytes: int, parallel: bool, round_: Round = FIRST
    ) -> None:
        self.calls: list[tuple[str, str]] = []
        self.server_calls: list[ServerCall] = []
        self.cut_calls = 0
        self._undelivered: set[int] = set()
        self._sink = sink
        self._message_id = message_id
        self._parallel = parallel
        self._round = round_
        self._room = held_bytes
        self._blocks = 0
        self._open = _Open.NOTHING
        self._call: Call | None = None
        self._thought: list[str] = []
        # white space that is part of a block if more of its kind follows
        self._blank: list[str] = []
        self._blank_kind = _Open.NOTHING
        self._waiting: deque[_Run | Call] = deque()

    @property
    def undelivered(self) -> int:
        """How many calls were left out because one at most was asked for."""
        return len(self._undelivered)

    @property
    def begun(self) -> bool:
        """Whether a block was opened."""
        return self._blocks > 0

    # ---- what comes in ------------------------------------------------------------------------------------

    def text(self, text: str) -> None:
        """More text (not empty)."""
        if self._open is _Open.TEXT:
            self._drop_blank()
            self._sink.text(text)
        elif self._open is _Open.CALL:
            self._wait(_Open.TEXT, text)
        elif text.isspace():
            self._hold_blank(_Open.TEXT, text)
        else:
            text = self._drop_blank(_Open.TEXT) + text
            self._close()
            self._begin(_Open.TEXT)
            self._sink.open_text()
            self._sink.text(text)

    def thinking(self, text: str) -> None:
        """More thinking (not empty)."""
        if self._open is _Open.CALL:
            self._wait(_Open.THINKING, text)
            return
        if self._open is _Open.THINKING:
            self._drop_blank()
        elif text.isspace():
            self._hold_blank(_Open.THINKING, text)
            return
        else:
            text = self._drop_blank(_Open.THINKING) + text
            self._close()
            self._begin(_Open.THINKING)
            self._sink.open_thinking()
        self._thought.append(text)
        self._sink.thinking(text)

    def call(self, call: Call, delta: ToolCallDelta) -> None:
        """A piece of a call."""
        if call.number > self._round.first_call and not self._parallel:
            self._undelivered.add(call.number)
            return
        text = call.absorb(delta)
        if call.stage is Stage.BEGUN:
            if text:
                self._sink.arguments(text)
        elif call.stage is not Stage.CLOSED:
            self._queue_or_open(call)
            if text and call.stage is Stage.OPEN and _can_begin(call):
                self._begin_call(call)
            else:
                self._hold(call, delta)
        self._settle()

    def finish(self, cut: Cut) -> None:
        """The end of the answer."""
        self._end_call(cut)
        while self._waiting:
            self._resume(self._waiting.popleft())
            self._end_call(cut)
        self._close()
        if not self._blocks and not self._round.follows:
            self._begin(_Open.TEXT)
            self._sink.open_text()
            blank = self._drop_blank(_Open.TEXT)
            if blank:
                self._sink.text(blank)
            self._close()

    # ---- one open block -----------------------------------------------------------------------------------

    def _begin(self, kind: _Open) -> None:
        self._open = kind
        self._blocks += 1

    def _close(self) -> None:
        """Closes whatever is open."""
        kind, self._open = self._open, _Open.NOTHING
        if kind is _Open.TEXT:
            self._sink.close_text()
        elif kind is _Open.THINKING:
            thought, self._thought = "".join(self._thought), []
            self._sink.close_thinking(thought)
        elif kind is _Open.CALL:
            call, self._call = self._call, None
            assert call is not None
            self._close_call(call)

    def _close_call(self, call: Call) -> None:
        if call.stage is Stage.OPEN:
            self._begin_call(call)
        call.stage = Stage.CLOSED
        if call.scanner.complete:
            self._completed(call, call.arguments)
        self._sink.close_call(call)

    def _completed(self, call: Call, arguments: str) -> None:
        self.calls.append((call.our_id, arguments))
        if call.on_server:
            self.server_calls.append(ServerCall(call.our_id, call.name, arguments))

    def _open_call(self, call: Call) -> None:
        """Makes a call the open one; its block begins with its arguments, until then its name may grow."""
        self._drop_blank()
        self._close()
        self._open = _Open.CALL
        self._call = call
        call.stage = Stage.OPEN

    def _begin_call(self, call: Call) -> None:
        call.stage = Stage.BEGUN
        call.on_server = call.name in self._round.server_tools
        call.our_id = call_id_out(call.engine_id, self._message_id, call.number, on_server=call.on_server)
        self._release(call)
        self._blocks += 1
        self._sink.open_call(call)
        if call.scanner.begun:
            self._sink.arguments(call.shown)

    # ---- what waits ---------------------------------------------------------------------------------------

    def _wait(self, kind: _Open, text: str) -> None:
        run = self._waiting[-1] if self._waiting else None
        if not isinstance(run, _Run) or run.kind is not kind:
            run = _Run(kind)
            self._room -= _ITEM_BYTES
            self._waiting.append(run)
        self._take_room(text)
        run.pieces.append(text)
        self._settle()

    def _queue_or_open(self, call: Call) -> None:
        """Gives a call its place when it is new."""
        if call.stage is not Stage.NEW:
            return
        if self._open is _Open.CALL:
            call.stage = Stage.WAITING
            call.held = _ITEM_BYTES
            self._room -= _ITEM_BYTES
            self._waiting.append(call)
        else:
            self._open_call(call)

    def _hold(self, call: Call, delta: ToolCallDelta) -> None:
        """Counts a piece of a call whose block has not begun."""
        function = delta.function
        if function is not None:
            kept = (function.name or "") + (function.arguments or "")
            call.held += _weight(kept)
            self._take_room(kept)

    def _release(self, call: Call) -> None:
        self._room += call.held
        call.held = 0

    def _settle(self) -> None:
        """Lets out what need not wait any longer."""
        while self._waiting and (self._call is None or self._call.ready):
            self._close()
            self._resume(self._waiting.popleft())

    def _resume(self, item: _Run | Call) -> None:
        if isinstance(item, Call):
            self._open_call(item)
            if _can_begin(item):
                self._begin_call(item)
            return
        text = "".join(item.pieces)
        self._room += _ITEM_BYTES + _weight(text)
        if item.kind is _Open.TEXT:
            self.text(text)
        else:
            self.thinking(text)

    def _end_call(self, cut: Cut) -> None:
        """Closes the open call at the end of the answer, as it is."""
        call = self._call
        if call is None:
            return
        if not call.name:
            self._nameless(call, cut)
            return
        # a stop string stands in what came last: a call without arguments before that is whole
        is_whole = cut in (Cut.NOT, Cut.PERHAPS) or (cut is Cut.BY_STOP and bool(self._waiting))
        if not call.scanner.begun and is_whole:
            self._close()
            self._completed(call, "{}")
        elif cut is not Cut.NOT and not call.scanner.complete:
            self.cut_calls += 1
        elif not call.scanner.complete:
            raise EngineFaultError(
                "The engine ended its answer inside the arguments of a tool call.",
                log_detail=f"call {call.number}",
            )
        self._close()

    def _nameless(self, call: Call, cut: Cut) -> None:
        if call.arguments or cut is Cut.NOT:
            raise EngineFaultError(
                "The engine sent a tool call without a name.", log_detail=f"call {call.number}"
            )
        # Cut before anything of it was known but its id: there is nothing to show.
        self.cut_calls += 1
        self._call = None
        self._open = _Open.NOTHING

    def _hold_blank(self, kind: _Open, text: str) -> None:
        if self._blank_kind is not kind:
            self._drop_blank()
        self._blank_kind = kind
        self._take_room(text)
        self._blank.append(text)

    def _drop_blank(self, kind: _Open = _Open.NOTHING) -> str:
        """Holds no white space any more; what was held, if it is of this kind."""
        if not self._blank:
            return ""
        blank = "".join(self._blank)
        self._blank.clear()
        self._room += _weight(blank)
        return blank if self._blank_kind is kind else ""

    def _take_room(self, text: str) -> None:
        self._room -= _weight(text)
        if self._room < 0:
            raise EngineFaultError("The engine's answer holds back more than this server keeps.")


def _can_begin(call: Call) -> bool:
    return call.scanner.begun and bool(call.name)


def _weight(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
