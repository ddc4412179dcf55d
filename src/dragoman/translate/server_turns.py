"""Earlier turns in which tools ran on this server, as the rounds of calls and results that they were."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Place
from dragoman.translate.server_results import NOT_RUN, ResultReader
from dragoman.translate.turns import Item, Turn
from dragoman.wire.anthropic.blocks import ContentBlock, ServerResultBlock, ServerToolUseBlock, ToolUseBlock


class TurnRound(NamedTuple):
    """A part of an assistant's turn up to its results; `results` are their texts by the id of the call."""

    turn: Turn
    results: dict[str, str]


class ServerHistory:
    """Splits turns into rounds. `names` are the tools that run here for this request; others are let be."""

    def __init__(self, names: Collection[str], reader: ResultReader) -> None:
        self._names = names
        self._reader = reader

    def rounds(self, turn: Turn) -> list[TurnRound]:
        """The rounds of an assistant's turn; a turn without calls of such tools is one.

        A round ends where all its calls have results and something else follows; one with calls for the
        client ends with the turn. A call without a result, as a limit may leave one, reads as not run.
        """
        if not self._names or not any(self._is_call(block) for _, block in turn.items):
            return [TurnRound(turn, {})]
        splitting = _Splitting()
        for place, block in turn.items:
            if isinstance(block, ServerResultBlock) and block.tool_use_id in splitting.calls:
                splitting.result(block.tool_use_id, self._reader.earlier(block, place), place)
            elif isinstance(block, ServerToolUseBlock) and self._is_call(block):
                splitting.call(place, block)
            else:
                splitting.other(place, block)
        return splitting.done()

    def _is_call(self, block: ContentBlock) -> bool:
        return isinstance(block, ServerToolUseBlock) and block.name in self._names


class _Splitting:
    """The rounds so far, and the one that is being read."""

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self._rounds: list[TurnRound] = []
        self._items: list[Item] = []
        self._results: dict[str, str] = {}
        self._for_client = False

    def call(self, place: Place, block: ServerToolUseBlock) -> None:
        self._end_if_answered()
        self.calls.add(block.id)
        self._items.append((place, ToolUseBlock(id=block.id, name=block.name, input=block.input)))

    def other(self, place: Place, block: ContentBlock) -> None:
        self._end_if_answered()
        self._for_client = self._for_client or isinstance(block, ToolUseBlock)
        self._items.append((place, block))

    def result(self, call_id: str, text: str, place: Place) -> None:
        if call_id in self._results:
            raise InvalidRequestError(
                f"{place}: each server_tool_use must have a single result. Found multiple results with id: "
                f"{call_id}"
            )
        self._results[call_id] = text

    def done(self) -> list[TurnRound]:
        for call_id in self.calls:
            self._results.setdefault(call_id, NOT_RUN)
        self._end()
        return self._rounds

    def _end_if_answered(self) -> None:
        if self._results and not self._for_client and self.calls == self._results.keys():
            self._end()

    def _end(self) -> None:
        self._rounds.append(TurnRound(Turn("assistant", self._items), self._results))
        self.calls, self._items, self._results = set(), [], {}
