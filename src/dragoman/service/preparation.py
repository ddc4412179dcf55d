"""A request on its way to the engine: made whole, resolved, edited, translated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from dragoman.observe.metrics import Metrics
from dragoman.service.editing import Edited, edited
from dragoman.service.spellings import Spellings
from dragoman.settings import Settings
from dragoman.translate.options import RequestOptions, Translation
from dragoman.translate.request import to_chat
from dragoman.translate.server_tools import Kind
from dragoman.translate.signature import Signer
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller
from dragoman.wire.openai import ChatRequest

# The beta under which a thinking budget may pass max_tokens.
_INTERLEAVED = "interleaved-thinking-2025-05-14"

Stage = Callable[[Any, Caller, EngineCapabilities], Awaitable[Any]]
"""From a request (for an answer or a count), who asks and what the engine can do, to such a request."""


CountChat = Callable[[ChatRequest], Awaitable[int]]
"""Tokens of a neutral request's prompt, by its engine."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the model sees it after its edits, and its translation."""

    edited: Edited
    translation: Translation


class Preparation:
    """The way of a request from its wire form to the neutral one.

    `stages` run in order, each on what the one before it made; then come the context edits, for which `count`
    asks an engine, and the translation. `server_tools` are the kinds of tools that run here.
    """

    def __init__(
        self,
        settings: Settings,
        signer: Signer,
        spellings: Spellings,
        metrics: Metrics,
        *,
        count: CountChat,
        stages: Sequence[Stage] = (),
        server_tools: frozenset[Kind] = frozenset(),
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._spellings = spellings
        self._metrics = metrics
        self._count = count
        self._stages = tuple(stages)
        self._server_tools = server_tools

    async def prepare(
        self, request: CountTokensRequest, caller: Caller, model: str, capabilities: EngineCapabilities
    ) -> Prepared:
        """The request through all stages; what cannot reach the model is an `InvalidRequestError`."""
        for stage in self._stages:
            request = await stage(request, caller, capabilities)
        options = self._options(caller, model, capabilities)

        async def count(other: CountTokensRequest) -> int:
            return await self._count(to_chat(other, options).chat)

        found = await edited(request, count)
        return Prepared(edited=found, translation=self._translate(found.request, options))

    def _translate(self, request: CountTokensRequest, options: RequestOptions) -> Translation:
        translation = to_chat(request, options)
        if translation.dropped_thinking:
            self._metrics.thinking_dropped(translation.dropped_thinking)
        return translation

    def _options(self, caller: Caller, model: str, capabilities: EngineCapabilities) -> RequestOptions:
        settings = self._settings
        return RequestOptions(
            model=model,
            capabilities=capabilities,
            foreign_thinking=settings.foreign_thinking,
            text_only_images=settings.text_only_images,
            image_urls=settings.image_urls,
            interleaved_thinking=_INTERLEAVED in caller.betas,
            api_version=caller.api_version,
            strict=settings.strict,
            open_thinking=self._signer.open,
            spelling=self._spellings.of(caller),
            server_tools=self._server_tools,
            request_id=caller.request_id,
            placement_key=caller.placement_key,
        )
