"""Answers of the models and count endpoints."""

from __future__ import annotations

from typing import Literal

import msgspec


class TokenCount(msgspec.Struct):
    """Answer of POST /v1/messages/count_tokens."""

    input_tokens: int


class ModelInfo(msgspec.Struct, tag_field="type", tag="model", kw_only=True):
    """One model; the keys of the OpenAI API stand beside ours, so that either kind of client reads it."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: None = None
    deprecated_at: None = None
    retires_at: None = None
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "dragoman"


class ModelPage(msgspec.Struct, kw_only=True):
    """A page of the list of models."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"
