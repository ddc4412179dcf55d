"""What an engine says when it refuses or fails, read into our errors."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.engines.base import CONFIGURATION
from dragoman.engines.dialects.overflow import Overflow, find_overflow
from dragoman.engines.dialects.template_words import names_template, template_reason
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
    RequestTooLargeError,
)
from dragoman.wire.openai import ChatRequest


class ContextOverflowError(InvalidRequestError):
    """Prompt and answer pass the engine's context; the engine client decides what becomes of it."""

    def __init__(self, overflow: Overflow, log_detail: str, log_content: str) -> None:
        super().__init__("prompt is too long", log_detail=log_detail, log_content=log_content)
        self.overflow = overflow


class EffortRefusedError(InvalidRequestError):
    """The engine takes no effort, or not this one; the engine client asks again without."""


class SchemaRefusedError(InvalidRequestError):
    """The engine cannot hold an answer to a schema of the request; `by_path` says to which one."""

    def by_path(self, request: ChatRequest) -> InvalidRequestError:
        """The error that names the schema by where it stands."""
        output, forced = request.response_format, request.tool_choice
        if output is not None and output.path:
            place = output.path
        elif forced is not None and forced.name in request.schema_places:
            place = request.schema_places[forced.name]
        elif len(request.schema_places) == 1:
            place = next(iter(request.schema_places.values()))
        elif request.tools:
            place = "tools"
        else:
            return self
        return InvalidRequestError(
            f"{place}: {self.message}", log_detail=self.log_detail, log_content=self.log_content
        )


# An error's type where neither HTTP nor its code gives a number.
_STATUS_OF_TYPE = {
    "badrequesterror": 400,
    "bad request": 400,
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "notfounderror": 404,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "overloaded_error": 529,
    "unavailable_error": 503,
    "serviceunavailableerror": 503,
    "service_unavailable": 503,
    "timeout_error": 504,
}
# The operator's fault, though the engine calls it a bad request.
_SET_UP = re.compile(
    r"--enable-auto-tool-choice|--tool-call-parser|--reasoning-parser|start it with `--jinja`"
    r"|Server is pinned to"
)
_IMAGE = re.compile(
    r"image input is not supported|not a multimodal model|at most 0 image|only supports text input"
    r"|does not support (?:image|multimodal)|(?:image|vision).{0,40}not supported",
    re.IGNORECASE,
)
_EFFORT = re.compile(r"reasoning[_. ]?effort", re.IGNORECASE)
# What engines say of schemas that they cannot turn into a grammar.
_SCHEMA = re.compile(r"json.?schema|grammar|guided.?(?:json|decoding)|structured.?output", re.IGNORECASE)
_LOG_BYTES = 2000
# What an engine may call its errors; anything else might be content.
_LABEL = re.compile(r"[\w.-]{1,60}")
# An engine that answers so takes no key, or another one.
REFUSES_KEY = frozenset({401, 403})


class EngineError(msgspec.Struct, frozen=True):
    """An engine's own words about an error."""

    message: str
    kind: str
    code: object
    numbers: Overflow


def error_of_reply(status: int, body: bytes, retry_after: float | None = None) -> DragomanError:
    """The error of an HTTP answer whose status is no success."""
    said = _decoded(body)
    said_so = "the engine refuses our key: status" if status in REFUSES_KEY else "engine status"
    detail = f"{said_so} {status}{'' if said is None else _labels(said)}"
    if said is None:
        detail += f", {len(body)} bytes that are no JSON"
        # without JSON it is not the engine's own word, but a proxy may still say "later" or "not here"
        status = status if status in {401, 403, 404, 429, 503, 504, 529} else 500
        said = EngineError("", "", None, Overflow())
    return _mapped(status, said, detail, logged(body), retry_after)


def words_of(body: bytes) -> str:
    """The engine's own words in the body of an error; empty where it has none."""
    said = _decoded(body)
    return "" if said is None else said.message


def error_in_stream(error: object, raw: bytes) -> DragomanError:
    """The error of an error object inside an answer whose HTTP status was a success."""
    said = _read(error)
    return _mapped(_status(said), said, f"engine error in its answer{_labels(said)}", logged(raw), None)


def error_in_body(raw: bytes) -> DragomanError | None:
    """The error that stands where an answer should, in any of the shapes in use; None if there is none."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, dict) and (value.get("error") is not None or value.get("object") == "error"):
        return error_in_stream(value.get("error") or value, raw)
    return None


def logged(body: bytes) -> str:
    """What is kept of an engine's words for the log at the level debug."""
    return body[:_LOG_BYTES].decode("utf-8", "replace")


def _labels(said: EngineError) -> str:
    """An engine's type and code of an error, where they are no more than that."""
    labels = {"type": said.kind, "code": "" if said.code is None else str(said.code)}
    return "".join(f", {name} {label}" for name, label in labels.items() if _LABEL.fullmatch(label))


def _decoded(body: bytes) -> EngineError | None:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, dict):
        return _read(value.get("error") or value)
    return EngineError(str(value), "", None, Overflow())


def _read(error: object) -> EngineError:
    if not isinstance(error, dict):
        return EngineError(str(error), "", None, Overflow())
    fields: dict[str, Any] = error
    message = fields.get("message") or fields.get("detail") or fields.get("msg") or ""
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    numbers = Overflow(_int(fields.get("n_prompt_tokens")), _int(fields.get("n_ctx")))
    return EngineError(message, str(fields.get("type") or ""), fields.get("code"), numbers)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _status(said: EngineError) -> int:
    code = said.code
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return _STATUS_OF_TYPE.get(said.kind.lower(), 500)


def _mapped(
    status: int, said: EngineError, detail: str, content: str, retry_after: float | None
) -> DragomanError:
    overflow = (
        find_overflow(said.message, (said.code, said.kind)) if status not in REFUSES_KEY | {429} else None
    )
    if overflow is not None:
        prompt = said.numbers.prompt if said.numbers.prompt is not None else overflow.prompt
        maximum = said.numbers.maximum if said.numbers.maximum is not None else overflow.maximum
        return ContextOverflowError(Overflow(prompt, maximum), detail, content)
    if _IMAGE.search(said.message):
        message = "the model that serves this request cannot see images"
        return InvalidRequestError(message, log_detail=detail, log_content=content)
    missing = _SET_UP.search(said.message)
    if missing is not None:
        status, detail = 404, f"{detail}, which says: {missing[0]}"
    if (status in {400, 422} or names_template(said.message)) and (
        refused := _refused(said.message, detail, content)
    ) is not None:
        return refused
    kind, message = _OF_STATUS.get(status, (EngineFaultError, "the engine failed to answer"))
    return kind(message, retry_after=retry_after, log_detail=detail, log_content=content)


def _refused(words: str, detail: str, content: str) -> InvalidRequestError | None:
    """The error of a request of which the engine, or the model's template, says what it does not take."""
    reason = template_reason(words)
    if reason is None and _SCHEMA.search(words):
        message = "the engine cannot hold its answer to this schema"
        return SchemaRefusedError(message, log_detail=detail, log_content=content)
    if _EFFORT.search(reason or words):
        return EffortRefusedError(_INVALID[1], log_detail=detail, log_content=content)
    if reason is not None:
        message = f"messages: the model's chat template refuses this conversation: {reason}"
        return InvalidRequestError(message, log_detail=detail, log_content=content)
    return None


_OVERLOADED = (OverloadedError, "the engine is overloaded")
_TIMEOUT = (EngineTimeoutError, "the engine did not answer in time")
_INVALID = (InvalidRequestError, "the engine refused the request as invalid")
_OF_STATUS: dict[int, tuple[type[DragomanError], str]] = {
    400: _INVALID,
    422: _INVALID,
    401: (EngineConfigurationError, CONFIGURATION),
    403: (EngineConfigurationError, CONFIGURATION),
    404: (EngineConfigurationError, CONFIGURATION),
    408: _TIMEOUT,
    504: _TIMEOUT,
    413: (RequestTooLargeError, "the request is too large for the engine"),
    429: (RateLimitError, "the engine is at its rate limit"),
    503: _OVERLOADED,
    529: _OVERLOADED,
}
