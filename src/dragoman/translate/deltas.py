"""Which call a piece belongs to, and what a call is so far; engines number and name calls in many ways."""

from __future__ import annotations

from enum import Enum, auto

from dragoman.errors import EngineFaultError
from dragoman.translate.json_scan import ArgumentScanner, ArgumentsError
from dragoman.wire.openai import ToolCallDelta


class Stage(Enum):
    """How far a call is on its way into a block."""

    NEW = auto()
    WAITING = auto()  # behind another call
    OPEN = auto()  # its turn, but its name may still grow
    BEGUN = auto()
    CLOSED = auto()


class Call:
    """One call of an answer, as far as it has come.

    `number` is its place in the order of appearance. `our_id` is set when its block begins; then its name
    and the engine's id hold. `on_server`: it names a tool that runs here; known with `our_id`. `held` is for
    its keeper: the bytes of it that are kept back.
    """

    __slots__ = (
        "_pieces",
        "_tail",
        "engine_id",
        "held",
        "name",
        "number",
        "on_server",
        "our_id",
        "scanner",
        "stage",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.engine_id = ""
        self.name = ""
        self.our_id = ""
        self.on_server = False
        self.held = 0
        self.stage = Stage.NEW
        self.scanner = ArgumentScanner()
        self._pieces: list[str] = []
        self._tail = ""  # a number at the end that may go on

    @property
    def arguments(self) -> str:
        """The argument text so far, without white space after the complete object."""
        return "".join(self._pieces)

    @property
    def shown(self) -> str:
        """The argument text so far that the client may see."""
        return self.arguments.removesuffix(self._tail)

    @property
    def input(self) -> str:
        """The arguments as JSON: what the model wrote, where it was cut the complete members of it."""
        return self.scanner.partial(self.arguments)

    @property
    def ready(self) -> bool:
        """Whether nothing is missing: it has a name, and its arguments are one complete object."""
        return self.scanner.complete and bool(self.name)

    def absorb(self, delta: ToolCallDelta) -> str:
        """Takes a piece; returns the argument text that it adds for the client.

        A number is kept back until it is over: cut in the middle, it would be read as another one. Raises
        `EngineFaultError` for a piece that cannot be part of a call. The first id holds, later ones are
        ignored. A name comes whole or in pieces until the block begins; a piece equal to the name so far
        repeats it.
        """
        if delta.id and not self.engine_id:
            self.engine_id = delta.id
        function = delta.function
        if function is None:
            return ""
        if function.name and function.name != self.name:
            self._add_to_name(function.name)
        return self._add_arguments(function.arguments) if function.arguments else ""

    def _add_to_name(self, piece: str) -> None:
        if self.stage is Stage.BEGUN or self.stage is Stage.CLOSED:
            raise EngineFaultError(
                "The engine changed the name of a tool call after it began.", log_detail=f"call {self.number}"
            )
        self.name += piece

    def _add_arguments(self, text: str) -> str:
        try:
            taken = self.scanner.feed(text)
        except ArgumentsError as error:
            raise EngineFaultError(
                "The engine sent a tool call whose arguments are not a JSON object.",
                log_detail=f"call {self.number}: {error}",
            ) from error
        text = text[:taken]
        if text:
            self._pieces.append(text)
        loose = self.scanner.loose
        if loose or self._tail:
            text = self._tail + text
            end = len(text) - loose
            text, self._tail = text[:end], text[end:]
        return text


class CallTable:
    """The calls of one answer, and the rule by which a piece finds its own. `next` is the next one's number.

    By index where there is one. A piece with an index that is taken, but with another id and a name, is a
    new call (engines that number every call 0), unless the call there is in the middle of its arguments.
    Without an index: by id; without an id, a name begins a new call, unless it repeats that of a call in
    the middle of its arguments; anything else continues the newest call.
    """

    def __init__(self, first: int = 0) -> None:
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}
        self._newest: Call | None = None
        self.next = first

    def find(self, delta: ToolCallDelta) -> Call:
        """The call that this piece belongs to, a new one where it is the first piece."""
        index = delta.index
        if index is None:
            call = self._without_index(delta)
        else:
            known = self._by_index.get(index)
            call = self.new() if known is None or _starts_another(known, delta) else known
            self._by_index[index] = call
        if delta.id:
            self._by_id.setdefault(delta.id, call)
        self._newest = call
        return call

    def new(self) -> Call:
        """The next call."""
        call = Call(self.next)
        self.next += 1
        return call

    def _without_index(self, delta: ToolCallDelta) -> Call:
        if delta.id:
            return self._by_id.get(delta.id) or self.new()
        newest = self._newest
        if newest is None:
            return self.new()
        name = _name(delta)
        continues = not name or (name == newest.name and _in_arguments(newest))
        return newest if continues else self.new()


def _starts_another(known: Call, delta: ToolCallDelta) -> bool:
    another_id = bool(delta.id and known.engine_id and delta.id != known.engine_id)
    return another_id and bool(_name(delta)) and not _in_arguments(known)


def _in_arguments(call: Call) -> bool:
    return call.scanner.begun and not call.scanner.complete


def _name(delta: ToolCallDelta) -> str:
    return (delta.function.name or "") if delta.function is not None else ""
