"""Rollouts: the key that names a session, what it may use, and what it samples with. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from dragoman.errors import PermissionDeniedError
from dragoman.ledger.values import Budget, Sampling, Session
from dragoman.wire.anthropic.request import MessagesRequest

_PREFIX = "dr-"
_MAC_BYTES = 18


class BudgetSpentError(PermissionDeniedError):
    """403: the session has used what it may; the agent ends, it does not try again."""

    default_should_retry = False


class RolloutKeys:
    """Keys that name their session: made and read with the ledger's own key, on any replica that has it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def made(self, session: str) -> str:
        """The key of a session."""
        name = base64.urlsafe_b64encode(session.encode()).decode().rstrip("=")
        return f"{_PREFIX}{name}.{self._mac(session)}"

    def session(self, key: str) -> str | None:
        """The session that a key names; None where it is none of ours."""
        name, dot, mac = key.removeprefix(_PREFIX).partition(".")
        if not key.startswith(_PREFIX) or not dot:
            return None
        try:
            session = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        same = hmac.compare_digest(mac.encode(), self._mac(session).encode())
        return session if same else None

    def _mac(self, session: str) -> str:
        mac = hmac.new(self._secret, b"dragoman rollout\0" + session.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac[:_MAC_BYTES]).decode()


class Used(msgspec.Struct, frozen=True):
    """What a session has used: turns that were begun, tokens that were sampled."""

    turns: int = 0
    tokens: int = 0


def check_budget(session: Session, used: Used, now: float) -> None:
    """Raises `BudgetSpentError`, which names what is spent, where one more turn would be one too many."""
    budget: Budget = session.budget
    if session.state != "open":
        raise BudgetSpentError(f"the session {session.id} is {_closed(session)}: it takes no more requests")
    if budget.turns is not None and used.turns >= budget.turns:
        raise BudgetSpentError(f"the session {session.id} has used its {budget.turns} turns")
    if budget.tokens is not None and used.tokens >= budget.tokens:
        raise BudgetSpentError(f"the session {session.id} has used its {budget.tokens} tokens")
    if budget.seconds is not None and now - session.created >= budget.seconds:
        raise BudgetSpentError(f"the session {session.id} has used its {budget.seconds:g} seconds")


def _closed(session: Session) -> str:
    return "finished" if session.state == "finishing" else "frozen"


def overridden(request: MessagesRequest, sampling: Sampling) -> MessagesRequest:
    """The request with the session's own values in the place of the harness's.

    `max_tokens` is an upper bound: a harness may ask for fewer. `min_tokens` and `seed` are no members of a
    request; whoever asks the engine takes them from the session.
    """
    given = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(sampling, name)) is not None
    }
    if sampling.max_tokens is not None:
        given["max_tokens"] = min(request.max_tokens, sampling.max_tokens)
    if sampling.stop:
        given["stop_sequences"] = list(sampling.stop)
    return msgspec.structs.replace(request, **given) if given else request


def used_by(sampling: Sampling, request: MessagesRequest) -> Sampling:
    """How a request is sampled, the session's values included."""
    asked = asked_by(overridden(request, sampling))
    return msgspec.structs.replace(asked, min_tokens=sampling.min_tokens, seed=sampling.seed)


def asked_by(request: MessagesRequest) -> Sampling:
    """How the harness asked for it."""
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        max_tokens=request.max_tokens,
        stop=tuple(request.stop_sequences or ()),
    )
