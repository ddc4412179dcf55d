"""Every error that Dragoman raises: one tree, with status, API error type and retry advice on each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class DragomanError(Exception):
    """An error with a place in the API's envelope.

    `message` is shown to the client and must not hold internals. `log_detail` goes to the log only, under the
    same request id, and must not hold content; `log_content` may, and goes there at the level debug only.
    `details` is the envelope's `error.details` (`error_code` is added from the class or the argument).
    `retry_after` is in seconds. `should_retry` becomes the `x-should-retry` header when it is not None.
    `is_counted`: the metrics know of it already.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    default_error_code: ClassVar[str | None] = None
    default_should_retry: ClassVar[bool | None] = None
    is_counted = False

    def __init__(
        self,
        message: str,
        *,
        error_code: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        log_detail: str = "",
        log_content: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code or self.default_error_code
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.should_retry = self.default_should_retry if should_retry is None else should_retry
        self.log_detail = log_detail
        self.log_content = log_content

    def __reduce__(self) -> tuple[Any, ...]:
        """The same error in another process, whatever its class takes to be made."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[DragomanError], args: tuple[Any, ...], state: dict[str, Any]) -> DragomanError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


# ---- the client's mistakes ---------------------------------------------------------------------------------


class InvalidRequestError(DragomanError):
    """400: the request is wrong; the message begins with the field's path (`messages.0.content: ...`)."""

    status = 400
    type = "invalid_request_error"


class ThreadUnsupportedError(InvalidRequestError):
    """400 on which both SDKs go on without threads."""

    default_error_code = "thread_unsupported_request"


class ThreadAlreadyContinuedError(InvalidRequestError):
    """400: a later answer stands in the thread already."""

    default_error_code = "thread_already_continued"

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"thread.previous_message_id: {message_id[:100]!r} has already been continued; continue from the "
            "thread's newest message, or send the whole conversation as a new thread"
        )


class ThreadContinueInFlightError(InvalidRequestError):
    """400: another request continues from the same answer."""

    default_error_code = "thread_continue_in_flight"

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"thread.previous_message_id: another request is continuing from {message_id[:100]!r}; continue "
            "from its answer, or send the whole conversation as a new thread"
        )


class ThreadFingerprintMismatchError(InvalidRequestError):
    """400: what a thread keeps was sent again, and differs."""

    default_error_code = "thread_fingerprint_mismatch"

    def __init__(self, fields: Sequence[str]) -> None:
        # "differing field(s)" and the names after it are read by clients
        super().__init__(
            f"thread: the request does not fit the thread, differing field(s): {', '.join(fields)}. They "
            "hold for the whole thread; leave them as they were, or send the whole conversation as a new one"
        )


class PromptTooLongError(InvalidRequestError):
    """400: the prompt alone passes the context; clients parse the wording and compact.

    Not every engine tells the numbers.
    """

    def __init__(self, tokens: int | None = None, maximum: int | None = None, **kwargs: object) -> None:
        numbers = "" if tokens is None or maximum is None else f": {tokens} tokens > {maximum} maximum"
        super().__init__(f"prompt is too long{numbers}", **kwargs)  # type: ignore[arg-type]  # passed through to the base as given
        self.tokens = tokens
        self.maximum = maximum


class StorageQuotaError(InvalidRequestError):
    """400: the files of this key take all the room that they may."""

    default_error_code = "storage_quota_exceeded"


class AuthenticationError(DragomanError):
    """401: no key, or a wrong one."""

    status = 401
    type = "authentication_error"
    default_should_retry = False


class PermissionDeniedError(DragomanError):
    """403: this caller may not do this (a foreign Host header, say)."""

    status = 403
    type = "permission_error"


class NotFoundError(DragomanError):
    """404: no such path or model."""

    status = 404
    type = "not_found_error"


class ThreadNotFoundError(NotFoundError):
    """404: nothing is kept under this id (any more); clients send the whole conversation again."""

    default_error_code = "thread_not_found"

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"thread.previous_message_id: no thread is kept for {message_id[:100]!r}; send the whole "
            "conversation as a new thread"
        )


THREAD_REPLAYED = (ThreadNotFoundError, ThreadAlreadyContinuedError, ThreadContinueInFlightError)
"""On these both SDKs send the whole conversation as a new thread."""


class FileExpiredError(NotFoundError):
    """404: the file's time is over and its bytes are gone."""

    default_error_code = "file_expired"


class MethodNotAllowedError(DragomanError):
    """405: the path exists, the method does not."""

    status = 405
    type = "invalid_request_error"


class RequestTimeoutError(DragomanError):
    """408: the body did not arrive in time."""

    status = 408
    type = "timeout_error"


class ConflictError(DragomanError):
    """409: the request meets a state that forbids it."""

    status = 409
    type = "conflict_error"


class RequestTooLargeError(DragomanError):
    """413: the body passes the limit."""

    status = 413
    type = "request_too_large"


class UnsupportedMediaTypeError(DragomanError):
    """415: the body is not declared as JSON."""

    status = 415
    type = "invalid_request_error"


class RateLimitError(DragomanError):
    """429: too many requests, here or at the engine."""

    status = 429
    type = "rate_limit_error"


class NotSupportedError(DragomanError):
    """501: not to be had here (a count on an engine that cannot count)."""

    status = 501
    type = "not_supported"
    default_should_retry = False


# ---- ours and the engines' ---------------------------------------------------------------------------------


class ApiError(DragomanError):
    """500: our fault, or an engine's answer that we cannot read."""


class EngineFaultError(ApiError):
    """500: the engine failed or said something that is no legal answer."""


class EngineLostError(EngineFaultError):
    """500: the connection to the engine ended before its answer did."""


class EngineConfigurationError(ApiError):
    """500: the engine refused our key or does not know the model that our settings name."""

    default_should_retry = False


class EngineTimeoutError(DragomanError):
    """504: the engine did not answer in time."""

    status = 504
    type = "timeout_error"


class OverloadedError(DragomanError):
    """529: the engine is full or unreachable, or this server is shutting down."""

    status = 529
    type = "overloaded_error"


# ---- before anything is served -----------------------------------------------------------------------------


class SettingsError(DragomanError):
    """A setting that cannot be used; the message names it and says what to do."""


class EngineUnavailableError(DragomanError):
    """An engine that cannot be started here (a missing package, model file or library)."""
