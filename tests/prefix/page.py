"""The parts of the docs that are made from the table of breaks."""

from __future__ import annotations

from collections.abc import Callable

from tests.prefix.comparing import CAUSES
from tests.prefix.scenarios import SCENARIOS
from tests.prefix.table import NO_SYSTEM, OTHERWISE, Row, listed
from tests.prefix.tokenizers import BORROWED, REAL
from tests.prefix.vocabularies import VOCABULARIES

_GROWS = "·"
_REFUSED = "refused"


def stability_table() -> str:
    """Every template by every scenario: why its prompt breaks, or that it grows."""
    rows = listed()
    kept = sum(not row.breaks and not row.refused for row in rows.values())
    lost = sum(not row.breaks.keys() <= {"joins", "tail"} for row in rows.values())
    refusing = sum(bool(row.refused) for row in rows.values())
    said = (
        f"{len(rows)} templates: {kept} keep every token in every scenario, {lost} rewrite history "
        f"somewhere, {refusing} refuse some turn.\n"
    )
    head = [
        "| template | system turns | " + " | ".join(SCENARIOS) + " |",
        "|---" * (2 + len(SCENARIOS)) + "|",
    ]
    lines = [
        f"| {name} | {row.system_turns} | "
        + " | ".join(_cell(row.of(scenario)) for scenario in SCENARIOS)
        + " |"
        for name, row in rows.items()
    ]
    return "\n".join([said, *head, *lines]) + "\n"


def _cell(row: Row) -> str:
    causes = [cause for cause in CAUSES if cause in row.breaks]
    return ", ".join(causes + [_REFUSED] * bool(row.refused)) or _GROWS


def causes() -> str:
    """What each cause means."""
    return "\n".join(f"- **{name}**: the template {what}." for name, (what, _) in CAUSES.items()) + "\n"


def otherwise() -> str:
    """What is put otherwise for templates that take less, and for which ones."""
    rows = listed()
    headless = [name for name, row in rows.items() if row.system_turns == NO_SYSTEM]
    lines = [f"- the system prompt begins the first user turn: {', '.join(headless)}"]
    for ability, what in OTHERWISE.items():
        lines.append(f"- {what}: {', '.join(name for name, row in rows.items() if ability in row.otherwise)}")
    return "\n".join(lines) + "\n"


REASONS = {
    "After the optional system message, conversation roles must alternate": (
        "an image in a result goes into a user turn behind it, and these take none there"
    ),
    "Conversation roles must alternate": "it knows no tools: neither their calls nor results have a place",
    "'functions' is undefined": "it wants the tools and the date under names that vLLM does not give them",
}
"""Why what a template refuses cannot be put otherwise, by how its words begin."""


def reason_of(words: str) -> str:
    """Why those words are the last ones; a `KeyError` names words that nothing explains."""
    return REASONS[next((start for start in REASONS if words.startswith(start)), words)]


def refusals() -> str:
    """What templates refuse, in their own words, why that cannot be mended, and which ones."""
    names: dict[str, list[str]] = {}
    for name, row in listed().items():
        for words in row.refused:
            names.setdefault(words, []).append(name)
    lines = [f"- `{words}`: {reason_of(words)} ({', '.join(found)})" for words, found in names.items()]
    return "\n".join(lines) + "\n"


def tokenizers() -> str:
    """Which tokens each template's prompts were compared by, and where they are from."""
    own: dict[str, list[str]] = {name: [] for name in VOCABULARIES}
    for template, tokenizer in REAL.items():
        own[tokenizer.vocabulary].append(template)
    head = ["| vocabulary | out of | whose prompts it cuts |", "|---|---|---|"]
    lines = [
        f"| {each.models}, real | `{each.source}` of {each.package} | {', '.join(own[name])} |"
        for name, each in VOCABULARIES.items()
    ]
    others = len(listed().keys() - REAL.keys())
    borrowed = VOCABULARIES[BORROWED].models
    lines.append(f"| {borrowed}, borrowed | the same | the other {others}, none of whose own is at hand |")
    return "\n".join([*head, *lines]) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "prefix-table": stability_table,
    "prefix-causes": causes,
    "prefix-otherwise": otherwise,
    "prefix-refusals": refusals,
    "prefix-tokenizers": tokenizers,
}
