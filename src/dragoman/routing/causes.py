"""Why a call to an engine failed: the names that metrics know, and whether another engine may do better."""

from __future__ import annotations

from dragoman.engines.base import EngineUnreachableError
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    EngineLostError,
    EngineTimeoutError,
    NotSupportedError,
    OverloadedError,
    RateLimitError,
)

# The first class that an error is of gives its cause.
_CAUSES: tuple[tuple[type[DragomanError], str], ...] = (
    (EngineUnreachableError, "unreachable"),
    (OverloadedError, "overloaded"),
    (RateLimitError, "rate_limited"),
    (EngineTimeoutError, "timeout"),
    (EngineLostError, "lost"),
    (EngineConfigurationError, "configuration"),
)


def cause_of(error: DragomanError) -> str:
    """Why a call failed.

    unreachable: no connection. lost: it ended before the answer did. timeout: silence for too long.
    overloaded, rate_limited: the engine says so. configuration: it refuses our key or does not know the
    model.
    fault: anything else that is no legal answer.
    """
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "fault")


def is_engines(error: DragomanError) -> bool:
    """Whether the engine is to blame, so that another may do better; a client's mistake stays one."""
    if isinstance(error, NotSupportedError):
        return False
    return error.status >= 500 or isinstance(error, RateLimitError)


def is_asking_to_wait(error: DragomanError) -> bool:
    """Whether the engine is well and only has too much to do."""
    if isinstance(error, EngineUnreachableError):
        return False
    return isinstance(error, RateLimitError | OverloadedError)
