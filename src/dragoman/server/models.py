"""GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.server.exchange import Exchange
from dragoman.server.paging import cursors_of, limit_of, query_of
from dragoman.service import MessagesService
from dragoman.wire.anthropic.models import ModelInfo, ModelPage
from dragoman.wire.openai import ModelCard


class ModelsEndpoint:
    """What is served."""

    def __init__(self, service: MessagesService) -> None:
        self._service = service

    async def list(self, exchange: Exchange) -> None:
        """One page of the models."""
        infos = [_info(card, card.id) for card in await self._service.models()]
        page = paged(infos, query_of(exchange))
        await exchange.respond(200, msgspec.json.encode(page))

    async def get(self, exchange: Exchange) -> None:
        """One model by its id or an alias, which the answer repeats."""
        wanted: str = exchange.scope["path_params"]["id"]
        served = self._service.resolve(wanted)
        for card in await self._service.models():
            if card.id == served:
                await exchange.respond(200, msgspec.json.encode(_info(card, wanted)))
                return
        raise NotFoundError(f"model: {wanted}")


def paged(infos: list[ModelInfo], query: dict[str, str]) -> ModelPage:
    """The page that a query asks for: `limit` models after `after_id`, or the last before `before_id`."""
    limit = limit_of(query)
    after, before = cursors_of(query)
    first, end = 0, len(infos)
    if after:
        first = _place(infos, after, "after_id") + 1
    if before:
        end = _place(infos, before, "before_id")
    span = infos[first:end]
    data = span[-limit:] if before else span[:limit]
    return ModelPage(
        data=data,
        has_more=len(span) > len(data),
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


def _place(infos: list[ModelInfo], wanted: str, name: str) -> int:
    for place, info in enumerate(infos):
        if info.id == wanted:
            return place
    raise InvalidRequestError(f"{name}: there is no model {wanted[:200]!r}")


def _info(card: ModelCard, name: str) -> ModelInfo:
    created = datetime.fromtimestamp(card.created, UTC)
    return ModelInfo(
        id=name,
        display_name=card.display_name or card.id,
        created_at=created.isoformat().replace("+00:00", "Z"),
        max_input_tokens=card.context_length,
        max_tokens=card.max_output or card.context_length,
        created=card.created,
    )
