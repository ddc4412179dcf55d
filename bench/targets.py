"""The aims of the project's speed, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.results import Report, Target
from bench.scenarios import LARGE, ONE_STREAM

RELAY, SMG, LITELLM = 1.5, 1.5, 60.0
LARGE_REQUEST = 3.0
FIRST_TOKEN_PERCENT, FIRST_TOKEN_MS = 2.0, 1.0
LIVE_MB = 150.0
GROWTH = 1.10


def evaluate(report: Report) -> list[Target]:
    """Every target with what was found."""
    return [
        _per_token(report, "relay", RELAY),
        _per_token(report, "smg", SMG),
        _litellm(report),
        _large_request(report),
        _first_token(report),
        _live(report),
        _session(report),
    ]


def at_most(name: str, found: float | None, limit: float, unit: str, words: str) -> Target:
    """A target that must not be exceeded."""
    return Target(name, found, limit, unit, None if found is None else found <= limit, words)


def _per_token(report: Report, peer: str, limit: float) -> Target:
    ours, theirs = report.cpu_us_per_token.get("dragoman"), report.cpu_us_per_token.get(peer)
    name = f"CPU per token, over {peer}"
    if ours is None or theirs is None:
        return at_most(name, None, limit, "times", "not measured")
    return at_most(name, ours / theirs, limit, "times", f"{ours:.2f} us over {theirs:.2f} us")


def _litellm(report: Report) -> Target:
    ours, theirs = report.cpu_us_per_token.get("dragoman"), report.cpu_us_per_token.get("litellm")
    name = "CPU per token, LiteLLM over dragoman (at least)"
    if ours is None or theirs is None:
        return Target(name, None, LITELLM, "times", None, "not measured")
    times = theirs / ours
    return Target(name, times, LITELLM, "times", times >= LITELLM, f"{theirs:.0f} us over {ours:.2f} us")


def _large_request(report: Report) -> Target:
    cell, codec = report.cell("dragoman", LARGE), report.codec
    name = "1 MB request, over one msgspec decode and encode"
    if cell is None or codec is None:
        return at_most(name, None, LARGE_REQUEST, "times", "not measured")
    words = f"{cell.cpu_us_per_request:.0f} us over {codec.both_us:.0f} us"
    return at_most(name, cell.cpu_us_per_request / codec.both_us, LARGE_REQUEST, "times", words)


def _first_token(report: Report) -> Target:
    name = "First token at one stream, within 2 % + 1 ms of direct"
    waits = list(_waits(report))
    if not waits:
        return at_most(name, None, FIRST_TOKEN_MS, "ms", "not measured")
    found, limit, _ = max(waits, key=lambda wait: wait[0] - wait[1])
    return at_most(name, found, limit, "ms", "the worst of " + ", ".join(words for *_, words in waits))


def _waits(report: Report) -> Iterator[tuple[float, float, str]]:
    """For each load at one stream: the wait, what is allowed, and words."""
    for scenario in ONE_STREAM:
        ours, direct = report.cell("dragoman", scenario), report.cell("direct", scenario)
        if ours and direct and ours.first_token_ms is not None and direct.first_token_ms is not None:
            limit = direct.first_token_ms * (1 + FIRST_TOKEN_PERCENT / 100) + FIRST_TOKEN_MS
            words = f"{scenario} {ours.first_token_ms:.2f} (direct {direct.first_token_ms:.2f})"
            yield ours.first_token_ms, limit, words


def _live(report: Report) -> Target:
    server = report.server("dragoman")
    name = f"Memory with {report.live_streams:,} live streams"
    if server is None or server.live_mb is None or server.most_at_once is None:
        return at_most(name, None, LIVE_MB, "MB", "not measured")
    target = at_most(name, server.live_mb, LIVE_MB, "MB", f"{server.most_at_once:,} at once")
    return (
        target if server.most_at_once >= report.live_streams else msgspec.structs.replace(target, met=False)
    )


def _session(report: Report) -> Target:
    name = "Last turns of a session, over what their bytes explain"
    session = next((session for session in report.sessions if session.server == "dragoman"), None)
    if session is None:
        return at_most(name, None, GROWTH, "times", "not measured")
    line = session.line
    words = f"{line.fixed_us:.0f} us + {line.us_per_kb:.2f} us/KB in the first half"
    return at_most(name, session.growth, GROWTH, "times", words)
