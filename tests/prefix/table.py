"""The committed table of breaks: what each template does to each scenario, and how it is measured anew."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from tests.prefix.comparing import CAUSES, UNEXPLAINED, Renderer, findings
from tests.prefix.recording import MAIN, Habits, Turns
from tests.prefix.rendering import Template, templates

FILE = Path(__file__).with_name("breaks.toml")
_REASON_LENGTH = 90
NO_SYSTEM = "none at all"

Places = dict[str, list[str]]
"""By cause or reason: a scenario with its conversation, and the turns, as "resume: 3 4"."""


class Row(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One template: how it takes system turns and content, where and why it breaks, what it refuses.

    otherwise: what else is put otherwise for it, by the names of `OTHERWISE`.
    """

    system_turns: str = ""
    content: str = ""
    otherwise: list[str] = []
    breaks: Places = {}
    refused: Places = {}

    def of(self, scenario: str) -> Row:
        """The part that one scenario shows."""
        return Row(breaks=_only(self.breaks, scenario), refused=_only(self.refused, scenario))


def _only(places: Places, scenario: str) -> Places:
    kept = {
        cause: [place for place in found if place.partition(":")[0].partition(",")[0] == scenario]
        for cause, found in places.items()
    }
    return {cause: found for cause, found in kept.items() if found}


def listed() -> dict[str, Row]:
    """The table as it is committed."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), dict[str, Row])


@cache
def all_templates() -> tuple[Template, ...]:
    """Every template that is here, compiled once."""
    return tuple(templates())


def facts(template: Template) -> Row:
    """What the probes find out of a template."""
    return Row(
        system_turns=_system_turns(template.habits),
        content="parts with images"
        if template.habits.images
        else "parts"
        if template.takes_parts
        else "text",
        otherwise=[name for name in OTHERWISE if not getattr(template.capabilities, name)],
    )


OTHERWISE = {
    "user_after_result": "a user's words behind a result join it",
    "calls_together": "each of several calls gets a turn of its own, its result behind it",
    "calls_without_text": "calls get an empty text beside them",
    "argument_objects": "the server is made to hand on the text of arguments, not an object",
    "tools": "requests with tools are refused, as no prompt shows them (the table tells what became of them)",
}
"""What the translation or the dialect puts otherwise where a template lacks an ability, by its name."""


def _system_turns(habits: Habits) -> str:
    if not habits.system_at_head:
        return NO_SYSTEM
    return "in place" if habits.system_in_place else "as reminders"


def measured(renderer: Renderer, scenario: str, conversations: dict[str, Turns]) -> Row:
    """What a template does to one scenario."""
    row = Row(breaks={}, refused={})
    for conversation, turns in conversations.items():
        place = scenario if conversation == MAIN else f"{scenario}, {conversation.removeprefix(f'{MAIN}, ')}"
        found = findings(renderer, turns)
        for cause, numbers in found.breaks.items():
            row.breaks.setdefault(cause, []).append(f"{place}: {_numbers(numbers)}")
        for reason, numbers in found.refused.items():
            row.refused.setdefault(reason[:_REASON_LENGTH], []).append(f"{place}: {_numbers(numbers)}")
    return row


def _numbers(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


def add(row: Row, more: Row) -> None:
    """Adds what another scenario shows."""
    for places, found in ((row.breaks, more.breaks), (row.refused, more.refused)):
        for cause, where in found.items():
            places.setdefault(cause, []).extend(where)


def written(rows: dict[str, Row]) -> str:
    """The table as a file."""
    return "\n".join(_HEAD + [line for name, row in rows.items() for line in _lines(name, row)])


_HEAD = [
    "# Where chat templates break the prefix, and why: written by `make prefix-table`, held by the tests.",
    "# Turns are requests of a conversation, counted from 1; the prompt of a turn that stands here does not",
    "# extend the one before it. Where a template refuses a turn, its own words are the reason. `otherwise`",
    "# names the abilities that it lacks and that are made up for.",
    "",
]


def _lines(name: str, row: Row) -> Iterator[str]:
    yield f"[{_quoted(name)}]"
    yield f"system_turns = {_quoted(row.system_turns)}"
    yield f"content = {_quoted(row.content)}"
    if row.otherwise:
        yield f"otherwise = [{', '.join(map(_quoted, row.otherwise))}]"
    for kind, places in (("breaks", row.breaks), ("refused", row.refused)):
        order = [*CAUSES, UNEXPLAINED] if kind == "breaks" else list(places)
        for cause in order:
            if cause in places:
                yield f"{kind}.{_quoted(cause)} = [{', '.join(map(_quoted, places[cause]))}]"
    yield ""


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's."""
    return msgspec.json.encode(text).decode()
