"""What the checks of all trainers' forms share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def token_ids(value: Any) -> bool:
    """Whether it is a list of ids that is not empty."""
    return isinstance(value, list) and bool(value) and all(type(each) is int and each >= 0 for each in value)


def numbers(value: Any) -> bool:
    """Whether it is a finite number, not a truth value."""
    return type(value) in {int, float} and math.isfinite(value)


def places(values: Sequence[Any], name: str, rule: Callable[[Any], bool]) -> list[str]:
    """Which of some values break a rule, in words."""
    return [f"{name}[{at}] is {value!r}" for at, value in enumerate(values) if not rule(value)]


def lengths(number: int, entry: Mapping[str, Any], mask: str, logprobs: str) -> list[str]:
    """What is wrong with an entry whose first field holds ids, and the others something for each of them."""
    name, *others = entry
    if not token_ids(entry[name]):
        return [f"{number}: {name} are no ids"]
    count = len(entry[name])
    found = [
        f"{number}: {other} has {len(entry[other])} values for {count} ids"
        for other in others
        if entry[other] is not None and len(entry[other]) != count
    ]
    found += places(entry[mask] or [], f"{number}: {mask}", lambda value: value in {0, 1})
    return found + places(entry[logprobs] or [], f"{number}: {logprobs}", numbers)


def entries(output: Mapping[str, Any], ids: str, mask: str, logprobs: str) -> list[str]:
    """What is wrong with a batch of such entries; the last two fields may be absent."""
    found = []
    for number, entry in enumerate(output[ids]):
        beside = {name: (output.get(name) or [])[number : number + 1] or [None] for name in (mask, logprobs)}
        found += lengths(
            number, {ids: entry, **{name: each[0] for name, each in beside.items()}}, mask, logprobs
        )
    return found
