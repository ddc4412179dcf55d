"""The parts of the docs that are made from the table of breaks."""

from __future__ import annotations

from collections.abc import Callable

from tests.prefix.comparing import CAUSES
from tests.prefix.scenarios import SCENARIOS
from tests.prefix.table import Row, listed

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


def refusals() -> str:
    """What templates refuse, in their own words, and which ones."""
    names: dict[str, list[str]] = {}
    for name, row in listed().items():
        for reason in row.refused:
            names.setdefault(reason, []).append(name)
    return "\n".join(f"- `{reason}`: {', '.join(found)}" for reason, found in names.items()) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "prefix-table": stability_table,
    "prefix-causes": causes,
    "prefix-refusals": refusals,
}
