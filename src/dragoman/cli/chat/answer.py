"""One answer as it arrives: its events in, what is to be shown out, and its content as it goes back."""

from __future__ import annotations

from typing import Any

import msgspec

Block = dict[str, Any]


class Words(msgspec.Struct, frozen=True):
    """More text."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """More thinking."""

    text: str


class CallBegun(msgspec.Struct, frozen=True):
    """A call whose arguments still come."""

    name: str


class Call(msgspec.Struct, frozen=True):
    """A call as it stands when its block ends; `arguments` is JSON unless it was cut."""

    id: str
    name: str
    arguments: str
    here: bool = True
    """Whether its result is expected from this side; a server runs the other ones itself."""

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are one JSON object."""
        try:
            return isinstance(msgspec.json.decode(self.arguments), dict)
        except (msgspec.DecodeError, RecursionError):
            return False


class BlockEnd(msgspec.Struct, frozen=True):
    """A block that has ended; `type` says what it was."""

    type: str


Shown = Words | Thought | CallBegun | Call | BlockEnd


class _Begin(msgspec.Struct):
    """`content_block_start`; as in the others, members that are unknown here do not matter."""

    content_block: Block
    index: int = 0


class _Delta(msgspec.Struct):
    """`content_block_delta`."""

    delta: dict[str, Any]
    index: int = 0


class _End(msgspec.Struct):
    """`content_block_stop`."""

    index: int = 0


class _Start(msgspec.Struct):
    """`message_start`."""

    message: dict[str, Any] = {}


class _Change(msgspec.Struct):
    """`message_delta`."""

    delta: dict[str, Any] = {}
    usage: dict[str, Any] | None = None


class _Stop(msgspec.Struct):
    """`message_stop`."""


_Event = _Begin | _Delta | _End | _Start | _Change | _Stop
_KINDS: dict[object, type[_Event]] = {
    "content_block_start": _Begin,
    "content_block_delta": _Delta,
    "content_block_stop": _End,
    "message_start": _Start,
    "message_delta": _Change,
    "message_stop": _Stop,
}
# How an answer ends that has no room left, perhaps in the middle of a call.
_CUT = frozenset(["max_tokens", "model_context_window_exceeded"])


class Answer:
    """What has come of an answer. Blocks and members that are unknown here are kept as they came."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}
        self.stop_reason: str | None = None
        self.is_complete = False
        self._blocks: dict[int, Block] = {}
        self._open: set[int] = set()
        # the text of arguments stays as it was written, and goes back so
        self._arguments: dict[int, str] = {}

    def take(self, data: bytes) -> Shown | None:
        """The data of one event; what is to be shown of it. Raises `msgspec.DecodeError`."""
        event = _read(data)
        if isinstance(event, _Begin):
            return self._begin(event.index, event.content_block)
        if isinstance(event, _Delta) and event.index in self._blocks:
            return self._grow(event.index, event.delta)
        if isinstance(event, _End) and event.index in self._blocks:
            return self._end(event.index)
        if isinstance(event, _Start):
            self._count(event.message.get("usage"))
        elif isinstance(event, _Change):
            self.stop_reason = event.delta.get("stop_reason") or self.stop_reason
            self._count(event.usage)
            self.is_complete = self.is_complete or self.stop_reason is not None
        elif isinstance(event, _Stop):
            self.is_complete = True
        return None

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.usage.update({name: count for name, count in usage.items() if count is not None})

    def _begin(self, index: int, block: Block) -> Shown | None:
        self._blocks[index] = block
        self._open.add(index)
        if _is_call(block):
            return CallBegun(str(block.get("name")))
        return _grown(block.get("type"), block)

    def _grow(self, index: int, delta: dict[str, Any]) -> Shown | None:
        block = self._blocks[index]
        kind = delta.get("type")
        if kind == "input_json_delta":
            self._arguments[index] = self._arguments.get(index, "") + str(delta.get("partial_json") or "")
            return None
        if kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
            return None
        for name, more in delta.items():
            if name == "type":
                continue
            old = block.get(name)
            grows = isinstance(old, str) and isinstance(more, str) and name != "signature"
            block[name] = f"{old}{more}" if grows else more
        return _grown(block.get("type"), delta)

    def _end(self, index: int) -> Shown:
        self._open.discard(index)
        block = self._blocks[index]
        return self._call(index) if _is_call(block) else BlockEnd(str(block.get("type")))

    def _call(self, index: int) -> Call:
        block = self._blocks[index]
        arguments = self._arguments.get(index) or msgspec.json.encode(block.get("input") or {}).decode()
        here = block.get("type") == "tool_use"
        return Call(str(block.get("id")), str(block.get("name")), arguments, here)

    def calls(self) -> list[Call]:
        """The calls whose results are expected from this side."""
        found = [self._call(index) for index in sorted(self._blocks) if self._goes_back(index)]
        return [call for call in found if call.here]

    def content(self) -> list[Block]:
        """What goes back with the next request: every block as it came, but for those that no server takes.

        These are empty texts, blocks and calls that were cut, and thinking that nothing follows.
        """
        kept = [self._written(index) for index in sorted(self._blocks) if self._goes_back(index)]
        while kept and kept[-1].get("type") in {"thinking", "redacted_thinking"}:
            kept.pop()
        return kept

    def _goes_back(self, index: int) -> bool:
        block = self._blocks[index]
        if block.get("type") == "text":
            return bool(str(block.get("text") or "").strip())
        if index in self._open:
            return False
        # a call of an answer that was cut is not asked for, so it cannot have a result
        return not _is_call(block) or (self.is_complete and not self._is_cut_call(index))

    def _is_cut_call(self, index: int) -> bool:
        """Whether a call's arguments are not all there; of a cut answer's last call none are too few."""
        if not self._call(index).is_whole:
            return True
        is_bare = not self._arguments.get(index) and not self._blocks[index].get("input")
        return is_bare and self.stop_reason in _CUT and index == max(self._blocks)

    def _written(self, index: int) -> Block:
        block = self._blocks[index]
        if not self._arguments.get(index):
            return block
        return {**block, "input": msgspec.Raw(self._arguments[index].encode())}


def _read(data: bytes) -> _Event | None:
    """An event, None for one of a kind that is unknown here: such are added to the API at any time."""
    try:
        value = msgspec.json.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    if not isinstance(value, dict):
        raise msgspec.DecodeError("it is no JSON object")
    kind = value.get("type")
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    return None if found is None else msgspec.convert(value, found)


def _is_call(block: Block) -> bool:
    return str(block.get("type")).endswith("tool_use")


def _grown(kind: object, source: dict[str, Any]) -> Shown | None:
    """What a block of that type shows of a member that came with its start or with a delta."""
    if kind == "text" and source.get("text"):
        return Words(str(source["text"]))
    if kind == "thinking" and source.get("thinking"):
        return Thought(str(source["thinking"]))
    return None
