"""Rows as NeMo Gym's `TokenEntry`: a record for each call, in version 1 or 3 of its form."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from dragoman.ledger.export.checks import numbers, places, token_ids
from dragoman.ledger.export.trajectory import Span, Trajectory, by_session

_DOMAIN = b"nemo-gym-tokens"
_DIGEST_VERSION = 1
_VERSIONS = (1, 3)


class Entries(msgspec.Struct, frozen=True):
    """The records of some sessions; incomplete: which of these sessions must not be trained, and why."""

    entries: list[dict[str, Any]]
    incomplete: dict[str, str]


def token_entries(rows: list[Trajectory], *, version: Literal[1, 3] = 1) -> Entries:
    """One record for each call, once over all rows; version 3 names the call that each goes on from.

    NeMo Gym trains a call whole, so one of which a token is not trained is left out and its session marked:
    its reader would take the hole for the conversation's end.
    """
    entries, seen = [], set()
    incomplete: dict[str, str] = {}
    # In the order of their rows, the first place of a call is the one where it is trained.
    for row in (row for own in by_session(rows) for row in own):
        for before, span in zip([None, *row.spans], row.spans, strict=False):
            if (row.session, _name(span)) in seen:
                continue
            seen.add((row.session, _name(span)))
            if span.trained < span.end - span.start:
                incomplete.setdefault(row.session, f"{_name(span)}: {span.why or 'no log-probabilities'}")
            else:
                entries.append(dict(_fields(row, span, before, version)))
    return Entries(entries, incomplete)


def _name(span: Span) -> str:
    return f"{span.turn}:{span.sample}" if span.sample else span.turn


def _fields(row: Trajectory, span: Span, before: Span | None, version: int) -> Iterator[tuple[str, Any]]:
    yield "schema_version", version
    yield "rollout_id", row.session
    yield "model_call_id", _name(span)
    yield "model", span.model
    yield "prompt_token_ids", row.token_ids[: span.start]
    yield "generation_token_ids", row.token_ids[span.start : span.end]
    yield "generation_log_probs", row.told(span.start, span.end)
    yield "output_items", []
    yield "token_item_index", None
    yield "created_at", span.began
    if version >= 3:
        yield "parent_call_id", _name(before) if before else None
        yield "cum_len", span.end
        yield "digest", digest(row.token_ids[: span.end])
        # A prompt that was written anew is a root there, too.
        yield "parent_resolution", "resolved" if before else "root"


def digest(ids: Sequence[int]) -> str:
    """NeMo Gym's digest of ids: SHA-256 over a domain, a version, their count and them, big-endian."""
    packed = struct.pack(f">BQ{len(ids)}Q", _DIGEST_VERSION, len(ids), *ids) if ids else b""
    return hashlib.sha256(_DOMAIN + packed).hexdigest()


def check_nemo_gym(entry: dict[str, Any]) -> list[str]:
    """What NeMo Gym would refuse; nothing where it fits.

    The rules are the fields and the validator of `TokenEntry` in `nemo_gym/token_id_capture/records.py`, and
    its builder's, which compares `cum_len` and `digest` with the tokens before it believes a parent.
    """
    ids, told = entry["generation_token_ids"], entry["generation_log_probs"]
    found = [
        f"{name} are no ids"
        for name in ("prompt_token_ids", "generation_token_ids")
        if not token_ids(entry[name])
    ]
    if entry["schema_version"] not in _VERSIONS:
        found.append(f"schema_version: {entry['schema_version']}")
    if len(ids) != len(told):
        found.append(f"generation_log_probs: {len(told)} for {len(ids)} ids")
    found += places(told, "generation_log_probs", numbers)
    return found + (_check_parent(entry) if entry["schema_version"] == 3 else [])


def _check_parent(entry: dict[str, Any]) -> list[str]:
    found = []
    if (entry["parent_resolution"] == "resolved") != bool(entry["parent_call_id"]):
        found.append(f"parent_resolution: {entry['parent_resolution']}")
    ids = [*entry["prompt_token_ids"], *entry["generation_token_ids"]]
    if (entry["cum_len"], entry["digest"]) != (len(ids), digest(ids)):
        found.append("cum_len and digest: of other tokens")
    return found
