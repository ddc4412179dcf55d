"""The Message Batches API: the body that makes a batch, and what is answered."""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.errors import ErrorEnvelope
from dragoman.wire.anthropic.explain import explain
from dragoman.wire.anthropic.response import MessageOut

BatchStatus = Literal["in_progress", "canceling", "ended"]

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class BatchRequest(msgspec.Struct, gc=False):
    """One request of a batch; its params are read when it runs."""

    custom_id: str
    params: Raw


class BatchCreate(msgspec.Struct):
    """Body of POST /v1/messages/batches."""

    requests: list[BatchRequest]


class RequestCounts(msgspec.Struct, kw_only=True):
    """How the requests of a batch stand; all of them are `processing` until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class MessageBatch(msgspec.Struct, tag_field="type", tag="message_batch", kw_only=True):
    """A batch as it stands."""

    id: str
    processing_status: BatchStatus
    request_counts: RequestCounts
    created_at: str
    expires_at: str
    ended_at: str | None = None
    cancel_initiated_at: str | None = None
    archived_at: None = None
    results_url: str | None = None


class DeletedMessageBatch(msgspec.Struct, tag_field="type", tag="message_batch_deleted"):
    """A batch that is no more."""

    id: str


class BatchPage(msgspec.Struct, kw_only=True):
    """A page of the list of batches."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class SucceededResult(msgspec.Struct, tag_field="type", tag="succeeded"):
    """The answer to a request."""

    message: MessageOut


class ErroredResult(msgspec.Struct, tag_field="type", tag="errored"):
    """Why a request has no answer."""

    error: ErrorEnvelope


class CanceledResult(msgspec.Struct, tag_field="type", tag="canceled"):
    """The batch was canceled before this request began."""


class ExpiredResult(msgspec.Struct, tag_field="type", tag="expired"):
    """The batch expired before this request began."""


BatchResult = SucceededResult | ErroredResult | CanceledResult | ExpiredResult


class BatchLine(msgspec.Struct, kw_only=True):
    """One line of the results."""

    custom_id: str
    result: BatchResult


def decode_batch(body: bytes | bytearray, *, most: int, strict: bool = False) -> list[BatchRequest]:
    """The requests of a new batch; InvalidRequestError names the path of what is wrong.

    What the params hold is not looked at, only that they are objects. `most`: requests in one batch.
    """
    try:
        requests = msgspec.json.decode(body, type=BatchCreate).requests
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(explain(error, BatchCreate, body)) from error
    if strict:
        _refuse_unknown(body)
    if not requests:
        raise InvalidRequestError("requests: Input should have at least 1 item")
    if len(requests) > most:
        raise InvalidRequestError(f"requests: Input should have at most {most} items")
    _check(requests)
    return requests


def _check(requests: list[BatchRequest]) -> None:
    seen: set[str] = set()
    for number, request in enumerate(requests):
        path = f"requests.{number}"
        if not _CUSTOM_ID.fullmatch(request.custom_id):
            raise InvalidRequestError(
                f"{path}.custom_id: Input should be 1 to 64 letters, digits, `_` or `-` of ASCII"
            )
        if request.custom_id in seen:
            raise InvalidRequestError(f"{path}.custom_id: {request.custom_id!r} stands in the batch twice")
        seen.add(request.custom_id)
        if bytes(memoryview(request.params)[:1]) != b"{":
            raise InvalidRequestError(f"{path}.params: Input should be an object")


def _refuse_unknown(body: bytes | bytearray) -> None:
    top = msgspec.json.decode(body, type=dict[str, Raw])
    paths = [name for name in top if name != "requests"]
    for number, members in enumerate(msgspec.json.decode(top["requests"], type=list[dict[str, Raw]])):
        paths += [f"requests.{number}.{name}" for name in members if name not in {"custom_id", "params"}]
    if paths:
        raise InvalidRequestError(f"{paths[0]}: Extra inputs are not permitted")
