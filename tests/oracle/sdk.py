"""The shapes of the installed SDK's types, stable and beta merged."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any

import typing_extensions
from anthropic.pagination import SyncPage, SyncPageCursor
from anthropic.types import (
    DeletedFile,
    FileMetadata,
    Message,
    MessageCountTokensParams,
    MessageTokensCount,
    ModelInfo,
    RawMessageStreamEvent,
)
from anthropic.types import message_create_params as stable
from anthropic.types.beta import (
    BetaDeletedFile,
    BetaFileMetadata,
    BetaMessage,
    BetaMessageTokensCount,
    BetaModelInfo,
    BetaRawMessageStreamEvent,
)
from anthropic.types.beta import message_count_tokens_params as beta_count
from anthropic.types.beta import message_create_params as beta
from anthropic.types.beta.messages import (
    BetaDeletedMessageBatch,
    BetaMessageBatch,
    BetaMessageBatchIndividualResponse,
)
from anthropic.types.beta.messages import batch_create_params as beta_batch
from anthropic.types.beta_error_response import BetaErrorResponse
from anthropic.types.messages import DeletedMessageBatch, MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages import batch_create_params as batch
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel

from tests.oracle.shapes import Field, Shape, merged, tagged

_FAMILIES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "string",
    date: "string",
    # The SDK reads such a file and sends base64.
    typing.IO[bytes]: "string",
    os.PathLike: "string",
    os.PathLike[str]: "string",
    object: "any",
    Any: "any",
}


def sdk_shapes() -> dict[str, Shape]:
    """Root name -> shape: what the SDK sends (request, count) and reads (the others)."""
    return {
        "request": merged(map(shape_of, (stable.MessageCreateParams, beta.MessageCreateParams))),
        "count": merged(map(shape_of, (MessageCountTokensParams, beta_count.MessageCountTokensParams))),
        "message": merged(map(shape_of, (Message, BetaMessage))),
        "event": merged(map(shape_of, (RawMessageStreamEvent, BetaRawMessageStreamEvent))),
        "error": merged(map(shape_of, (ErrorResponse, BetaErrorResponse))),
        "token_count": merged(map(shape_of, (MessageTokensCount, BetaMessageTokensCount))),
        "model": merged(map(shape_of, (ModelInfo, BetaModelInfo))),
        "file": merged(map(shape_of, (FileMetadata, BetaFileMetadata))),
        "batches": merged(map(shape_of, (batch.BatchCreateParams, beta_batch.BatchCreateParams))),
        "batch": merged(map(shape_of, (MessageBatch, BetaMessageBatch))),
        "deleted_batch": merged(map(shape_of, (DeletedMessageBatch, BetaDeletedMessageBatch))),
        "batch_line": merged(
            map(shape_of, (MessageBatchIndividualResponse, BetaMessageBatchIndividualResponse))
        ),
        "deleted_file": merged(map(shape_of, (DeletedFile, BetaDeletedFile))),
        "model_page": merged(map(shape_of, (SyncPage[ModelInfo], SyncPage[BetaModelInfo]))),
        "file_page": merged(map(shape_of, (SyncPageCursor[FileMetadata], SyncPageCursor[BetaFileMetadata]))),
        "batch_page": merged(map(shape_of, (SyncPage[MessageBatch], SyncPage[BetaMessageBatch]))),
    }


@cache
def shape_of(hint: Any) -> Shape:
    """The shape of one annotation; raises `TypeError` for a construct that is new here."""
    origin, arguments = typing_extensions.get_origin(hint), typing_extensions.get_args(hint)
    if hint is None or hint is type(None):
        return Shape(null=True)
    if hint in _FAMILIES:
        return Shape(families=frozenset([_FAMILIES[hint]]))
    if origin is typing.Literal:
        if all(isinstance(value, bool) for value in arguments):
            return Shape(families=frozenset(["boolean"]))
        return Shape(literals=frozenset(arguments))
    if origin in {typing_extensions.Annotated, typing_extensions.Required, typing_extensions.NotRequired}:
        return shape_of(arguments[0])
    if origin is not None:
        return _generic(hint, origin, arguments)
    if typing_extensions.is_typeddict(hint):
        return tagged(_dict_fields(hint))
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return tagged(_model_fields(hint))
    raise TypeError(f"no shape for {hint!r}")


def _generic(hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Shape:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Shape(families=frozenset(["map"]))
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return Shape(item=shape_of(arguments[0]))
    if origin in {typing.Union, types.UnionType}:
        return merged(map(shape_of, arguments))
    raise TypeError(f"no shape for {hint!r}")


def _dict_fields(hint: Any) -> dict[str, Field]:
    hints: dict[str, Any] = typing_extensions.get_type_hints(hint, include_extras=True)
    return {name: Field(shape_of(kind), _is_required(kind)) for name, kind in hints.items()}


def _is_required(hint: Any) -> bool:
    origin: Any = typing_extensions.get_origin(hint)
    return origin is typing_extensions.Required


def _model_fields(model: type[BaseModel]) -> dict[str, Field]:
    fields = {}
    for name, info in model.model_fields.items():
        hint: Any = info.annotation
        fields[info.alias or name] = Field(shape_of(hint), info.is_required())
    return fields
