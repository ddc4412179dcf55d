"""What an examination finds, as plain values."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["yes", "partly", "no", "ignored", "not shown", "failed", "not asked"]
"""yes: seen at work. partly: with a limit that the evidence names. no: the engine refuses it, or does without
it. ignored: taken without a word, and not obeyed. not shown: the engine took it, and the model gave no
occasion to see it. failed: the question itself went wrong. not asked: it would have been no use."""

LACKING: frozenset[Outcome] = frozenset(["no", "ignored", "failed"])


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `result` is the outcome in the words of its row; `evidence` how it was found, in short."""

    name: str
    title: str
    outcome: Outcome
    result: str
    evidence: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is missing: what that means for a client of the Messages API, and what turns it on."""

    name: str
    title: str
    outcome: Outcome
    meaning: str
    remedy: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A capability that trying shows otherwise than detection told, and what comes of it."""

    capability: str
    detected: bool
    shown: bool
    meaning: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one engine and one of its models. `works`: nothing essential is missing."""

    engine: str
    dialect: str
    model: str
    works: bool
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    differences: tuple[Difference, ...]
