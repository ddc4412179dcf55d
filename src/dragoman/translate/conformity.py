"""What a request demands of its answer: a form of the text, a certain call, input that fits a tool's schema.

`Expected` is what was demanded; `Watch` stands between an answer and its sink, lets no call pass that was not
asked for, and says at the end whether the demands are met. A request that demands nothing has neither.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from dragoman.errors import EngineFaultError, InvalidRequestError
from dragoman.translate.deltas import Call
from dragoman.translate.finish import Stop
from dragoman.translate.order import BlockSink
from dragoman.translate.raw import object_text
from dragoman.translate.schema_size import UnknownReferenceError, followed_size
from dragoman.wire.nesting import LOOKED_AT, beyond, shown

# Patterns take time by the text's length; those with look-around or references back give up here.
_BACKTRACKS = 100_000
# A check takes a moment for each schema, one as often as references lead to it.
_MOST_SCHEMAS = 100_000
# Of arrays and objects, a little less than the library takes; a schema in a schema is one or two.
MOST_LEVELS = 250
_MESSAGE_LENGTH = 200
_WHOLE = frozenset({"end_turn", "tool_use"})

Validator = jsonschema_rs.Draft202012Validator


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must hold.

    text: every text block is JSON by this schema. inputs: the schemas of strict tools, by name. call: whether
    some tool must be called. only: the one tool whose calls are delivered. single: at most one of them.
    """

    text: Validator | None = None
    inputs: dict[str, Validator] = {}
    call: bool = False
    only: str | None = None
    single: bool = False


def later_rounds(expected: Expected | None) -> Expected | None:
    """What holds after a tool of this server ran: a call was demanded, and made, in the first round."""
    if expected is None or not (expected.text or expected.inputs):
        return None
    return Expected(text=expected.text, inputs=expected.inputs)


def validator_of(schema: bytes, path: str) -> Validator:
    """The validator of a schema; `InvalidRequestError` for one that is none, or that points elsewhere."""
    object_text(msgspec.Raw(schema), path)
    found = _compiled(schema)
    if isinstance(found, Validator):
        return found
    where, what = found
    raise InvalidRequestError(f"{path}{where}: {what}")


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> Validator | tuple[str, str]:
    """The validator, or where and why there is none. Nothing is fetched, and formats are not checked."""
    elsewhere: list[str] = []
    deep = beyond(schema, MOST_LEVELS)
    if deep is not None:
        return (
            f".{shown(deep)}",
            f"the schema is nested deeper than {MOST_LEVELS} levels of arrays and objects",
        )

    def refuse(uri: str) -> Any:
        elsewhere.append(uri)
        raise ValueError

    try:
        value = msgspec.json.decode(schema)
        validator = Validator(
            value,
            validate_formats=False,
            retriever=refuse,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
        if followed_size(value) > _MOST_SCHEMAS:
            return "", "the schema is too large with its references followed"
        return validator
    except UnknownReferenceError:
        return "", "`$ref` may only be a path inside the same schema"
    except RecursionError:
        return "", "the schema is nested too deep"
    except (jsonschema_rs.ValidationError, ValueError) as error:
        if elsewhere:
            return "", f"`$ref` may only point into the same schema: {elsewhere[0][:_MESSAGE_LENGTH]!r}"
        place = "".join(f".{step}" for step in getattr(error, "instance_path", ()))
        unknown = (
            "no JSON Schema" if len(schema) <= LOOKED_AT else "the schema is too large or nested too deep"
        )
        what = getattr(error, "message", "") or unknown
        return place, what[:_MESSAGE_LENGTH]


class Watch:
    """The sink of an answer of which something is expected; what may pass goes on to another sink.

    `left_out` counts the calls that were not asked for. `follows`: the message has blocks already. Raises
    `EngineFaultError` where an expectation fails.
    """

    def __init__(self, expected: Expected, sink: BlockSink, room: int, *, follows: bool = False) -> None:
        self.left_out = 0
        self._expected = expected
        self._sink = sink
        self._room = room
        self._passes = True
        self._is_empty = not follows
        self._names: dict[str, str] = {}
        self._texts: list[list[str]] = []

    def delivered(self, calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of some calls that were passed on."""
        return [call for call in calls if call[0] in self._names]

    def check(self, stop: Stop, calls: list[tuple[str, str]], *, refused: bool) -> None:
        """Whether the answer is what was expected; `calls` are the complete ones that were passed on."""
        expected = self._expected
        for our_id, arguments in calls:
            validator = expected.inputs.get(self._names[our_id])
            if validator is not None:
                _check(
                    validator,
                    arguments,
                    "The engine called a strict tool with input that is not of its schema.",
                )
        if stop.reason not in _WHOLE or refused:
            self._fill()
            return
        if expected.call and not calls:
            raise EngineFaultError(
                "The engine called no tool, though the request's tool_choice demands it."
                if expected.only is None
                else "The engine did not call the tool that the request's tool_choice names."
            )
        if expected.text is not None and not calls:
            for pieces in self._texts or [[]]:
                _check(
                    expected.text,
                    "".join(pieces),
                    "The engine's answer is not of the schema in output_config.format.",
                )

    def _fill(self) -> None:
        """A message has one block at least, also where all that came was left out."""
        if self._is_empty:
            self.open_text()
            self.close_text()

    # ---- the blocks ---------------------------------------------------------------------------------------

    def open_text(self) -> None:
        """A text block begins."""
        self._is_empty = False
        if self._expected.text is not None:
            self._texts.append([])
        self._sink.open_text()

    def text(self, text: str) -> None:
        """More of the open text block."""
        if self._expected.text is not None:
            self._room -= len(text)
            if self._room < 0:
                raise EngineFaultError("The engine's answer holds back more than this server keeps.")
            self._texts[-1].append(text)
        self._sink.text(text)

    def close_text(self) -> None:
        """The text block ends."""
        self._sink.close_text()

    def open_thinking(self) -> None:
        """A thinking block begins."""
        self._is_empty = False
        self._sink.open_thinking()

    def thinking(self, text: str) -> None:
        """More of the open thinking block."""
        self._sink.thinking(text)

    def close_thinking(self, thought: str) -> None:
        """The thinking block ends."""
        self._sink.close_thinking(thought)

    def open_call(self, call: Call) -> None:
        """The block of a call begins, where it was asked for: its name is known now."""
        expected = self._expected
        is_wanted = expected.only is None or call.name == expected.only
        self._passes = is_wanted and not (expected.single and self._names)
        if not self._passes:
            self.left_out += 1
            return
        self._is_empty = False
        self._names[call.our_id] = call.name
        self._sink.open_call(call)

    def arguments(self, text: str) -> None:
        """More of the open call's arguments."""
        if self._passes:
            self._sink.arguments(text)

    def close_call(self, call: Call) -> None:
        """The block of a call ends."""
        if self._passes:
            self._sink.close_call(call)


def _check(validator: Validator, text: str, fault: str) -> None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise EngineFaultError(fault, log_detail="no JSON") from None
    # not to be asked for its errors: making these takes far longer than finding that there are some
    if not validator.is_valid(value):
        raise EngineFaultError(fault, log_detail="not valid")
