"""The memory of how arguments were spelled."""

from __future__ import annotations

from dragoman.service.spellings import Spellings
from dragoman.wire.identity import Caller, SessionKey


def caller(scope: str = "", session: str | None = None, *, durable: bool = True) -> Caller:
    """Somebody who calls."""
    key = None if session is None else SessionKey(session, "test", durable)
    return Caller(request_id="req_1", scope=scope, session=key)


def test_what_was_said_is_known_again() -> None:
    kept = Spellings(10)
    kept.remember(caller(), [("a", "{ }"), ("b", "{}")])
    kept.remember(caller(), [("a", "{  }")])
    assert [kept.of(caller())(name) for name in ("a", "b", "c")] == ["{  }", "{}", None]


def test_scopes_and_sessions_never_meet() -> None:
    kept = Spellings(10)
    kept.remember(caller("alice", "s"), [("a", "{}")])
    others = [caller("bob", "s"), caller("alice", "t"), caller("alice"), caller("", "s")]
    assert [kept.of(other)("a") for other in others] == [None] * 4
    assert kept.of(caller("alice", "s"))("a") == "{}"


def test_a_fingerprint_names_no_session() -> None:
    kept = Spellings(10)
    kept.remember(caller("", "print-1", durable=False), [("a", "{}")])
    assert kept.of(caller("", "print-2", durable=False))("a") == "{}"
    assert kept.of(caller())("a") == "{}"


def test_the_oldest_goes_first_and_use_keeps_young() -> None:
    kept = Spellings(2)
    spelling = kept.of(caller())
    kept.remember(caller(), [("a", "1"), ("b", "2")])
    assert spelling("a") == "1"
    kept.remember(caller(), [("c", "3")])
    assert [spelling(name) for name in "abc"] == ["1", None, "3"]


def test_bytes_are_bounded_too() -> None:
    kept = Spellings(100, max_bytes=10)
    kept.remember(caller(), [("a", "x" * 6), ("b", "x" * 6)])
    assert [kept.of(caller())(name) for name in "ab"] == [None, "x" * 6]
    kept.remember(caller(), [("c", "x" * 11)])
    assert [kept.of(caller())(name) for name in "bc"] == [None, None]
    kept.remember(caller(), [("d", "x" * 10)])
    assert kept.of(caller())("d") == "x" * 10


def test_nothing_is_kept_where_nothing_may_be() -> None:
    kept = Spellings(0)
    kept.remember(caller(), [("a", "{}")])
    assert kept.of(caller())("a") is None
