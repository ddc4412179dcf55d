"""The shapes of our structs."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from dragoman.server.messages import ManagedTokenCount
from dragoman.wire.anthropic.batches import (
    BatchCreate,
    BatchLine,
    BatchPage,
    DeletedMessageBatch,
    MessageBatch,
)
from dragoman.wire.anthropic.blocks import CacheControl
from dragoman.wire.anthropic.errors import ErrorEnvelope
from dragoman.wire.anthropic.events import StreamEvent
from dragoman.wire.anthropic.files import DeletedFile, FileMetadata, FilePage
from dragoman.wire.anthropic.models import ModelInfo, ModelPage
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest, Tool
from dragoman.wire.anthropic.response import MessageOut
from tests.oracle.shapes import Field, Shape, merged, tagged

READ: dict[str, Any] = {"request": MessagesRequest, "count": CountTokensRequest, "batches": BatchCreate}
SENT: dict[str, Any] = {
    "message": MessageOut,
    "event": StreamEvent,
    "error": ErrorEnvelope,
    "token_count": ManagedTokenCount,
    "model": ModelInfo,
    "file": FileMetadata,
    "deleted_file": DeletedFile,
    "batch": MessageBatch,
    "deleted_batch": DeletedMessageBatch,
    "batch_line": BatchLine,
    "model_page": ModelPage,
    "file_page": FilePage,
    "batch_page": BatchPage,
}
# Structs whose `type` is not looked at, or may be missing: here they stand for this one.
ASSUMED_TAGS: dict[type, str] = {CacheControl: "ephemeral", Tool: "custom"}
_FAMILIES: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.AnyType: "any",
    inspect.RawType: "any",
    inspect.DictType: "map",
}


def our_shapes() -> dict[str, Shape]:
    """Root name -> shape, as `sdk_shapes` names them."""
    read = {name: shape_of(inspect.type_info(kind), sent=False) for name, kind in READ.items()}
    return read | {name: shape_of(inspect.type_info(kind), sent=True) for name, kind in SENT.items()}


def shape_of(node: inspect.Type, *, sent: bool) -> Shape:
    """The shape of one described type; raises `TypeError` for a construct that is new here.

    A member of what we read is required when it must be there, one of what is `sent` when it always is.
    """
    if isinstance(node, inspect.UnionType):
        return merged(shape_of(member, sent=sent) for member in node.types)
    if isinstance(node, inspect.NoneType):
        return Shape(null=True)
    if isinstance(node, inspect.LiteralType):
        return Shape(literals=frozenset(node.values))
    if isinstance(node, inspect.ListType):
        return Shape(item=shape_of(node.item_type, sent=sent))
    if isinstance(node, inspect.StructType):
        return _struct(node, sent=sent)
    if type(node) in _FAMILIES:
        return Shape(families=frozenset([_FAMILIES[type(node)]]))
    raise TypeError(f"no shape for {node!r}")


def _struct(node: inspect.StructType, *, sent: bool) -> Shape:
    fields = {
        member.encode_name: Field(
            shape_of(member.type, sent=sent),
            member.required or (sent and member.default is not msgspec.UNSET),
        )
        for member in node.fields
    }
    tag = node.tag or ASSUMED_TAGS.get(node.cls)
    if tag is not None:
        fields["type"] = Field(Shape(literals=frozenset([tag])), required=True)
    return tagged(fields)
