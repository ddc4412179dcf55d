"""/ledger/sessions: the sessions of a trainer's rollouts, over HTTP, behind the ledger's own key."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.routing import Route

from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.ledger.interface import Summary
from dragoman.ledger.recorder import Ledger
from dragoman.ledger.rollouts import SCOPE
from dragoman.ledger.sessions import RolloutKeys
from dragoman.ledger.values import Budget, Sampling, Session
from dragoman.server.door import Endpoint
from dragoman.server.exchange import JSON, Exchange
from dragoman.server.guard import Guard
from dragoman.server.json_bodies import json_body
from dragoman.server.paging import query_of
from dragoman.settings import Settings

_MOST_LISTED = 1000


class Creation(msgspec.Struct, forbid_unknown_fields=True):
    """A new session; without an id it gets one."""

    id: Annotated[str, Meta(max_length=200)] = ""
    metadata: dict[str, msgspec.Raw] = {}
    budget: Budget = Budget()
    sampling: Sampling = Sampling()


class Reward(msgspec.Struct, forbid_unknown_fields=True):
    """A reward by name; "reward" where it has none."""

    value: float
    name: str = "reward"


class Annotation(msgspec.Struct, forbid_unknown_fields=True):
    """What else there is to say of a session."""

    note: str = ""
    metadata: dict[str, msgspec.Raw] = {}


class Finish(msgspec.Struct, forbid_unknown_fields=True):
    """How many seconds to wait for the requests that run."""

    seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No members."""


class Told(msgspec.Struct, kw_only=True):
    """A session as it is told; `key` is what its agent shows in the place of an API key."""

    id: str
    scope: str
    key: str
    state: str
    created: float
    metadata: dict[str, msgspec.Raw]
    budget: Budget
    sampling: Sampling
    rewards: dict[str, float]
    notes: tuple[str, ...]
    incomplete: str
    turns: int = 0
    tokens: int = 0


class LedgerEndpoint:
    """The paths under /ledger/sessions. Bodies are JSON, an empty one is `{}`; unknown fields are refused."""

    def __init__(self, ledger: Ledger | None, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        key = settings.ledger.key
        self._keys = RolloutKeys(key)
        # the same door with another key
        keys = {"ledger": key} if key else {}
        self._guard = Guard(
            msgspec.structs.replace(
                settings, api_keys=keys, admin_key="", ledger=msgspec.structs.replace(settings.ledger, key="")
            )
        )

    def routes(self) -> list[Route]:
        """The paths; none without a ledger and its key."""
        if self._ledger is None or not self._settings.ledger.key:
            return []
        session = "/ledger/sessions/{id:path}"
        return [
            Route("/ledger/sessions", self._endpoint(GET=self._list, POST=self._create)),
            Route(f"{session}/turns", self._endpoint(GET=self._turns)),
            Route(f"{session}/reward", self._endpoint(POST=self._reward)),
            Route(f"{session}/annotate", self._endpoint(POST=self._annotate)),
            Route(f"{session}/finish", self._endpoint(POST=self._finish)),
            Route(f"{session}/freeze", self._endpoint(POST=self._freeze)),
            Route(session, self._endpoint(GET=self._get, DELETE=self._drop)),
        ]

    def _endpoint(self, **handlers: Callable[[Exchange], Awaitable[None]]) -> Endpoint:
        return Endpoint(self._guard, handlers)

    @property
    def _book(self) -> Ledger:
        assert self._ledger is not None, "there are no routes without one"
        return self._ledger

    async def _create(self, exchange: Exchange) -> None:
        body = await self._body(exchange, Creation)
        made = await self._book.rollouts.create(
            body.id or secrets.token_hex(12),
            metadata=body.metadata,
            budget=body.budget,
            sampling=body.sampling,
        )
        await self._respond(exchange, self._told(made))

    async def _list(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        try:
            limit, before = int(query.get("limit", "100")), float(query.get("before", "inf"))
        except ValueError as error:
            raise InvalidRequestError("limit, before: a number is expected") from error
        if not 1 <= limit <= _MOST_LISTED:
            raise InvalidRequestError(f"limit: must be from 1 to {_MOST_LISTED}")
        found = await self._book.store.sessions(before=before, limit=limit + 1)
        page = found[:limit]
        listed = [self._summed(one) for one in page]
        last = page[-1].changed if len(found) > limit else None
        await self._respond(exchange, {"sessions": listed, "next": last})

    async def _get(self, exchange: Exchange) -> None:
        session = await self._book.rollouts.get(_id(exchange))
        turns = await self._book.store.turns(SCOPE, session.id)
        told = self._told(session)
        told.turns = len(turns)
        told.tokens = sum(len(sample.sampled_ids) for turn in turns for sample in turn.samples)
        await self._respond(exchange, told)

    async def _turns(self, exchange: Exchange) -> None:
        session = await self._book.rollouts.get(_id(exchange))
        turns = await self._book.store.turns(SCOPE, session.id)
        wanted = {digest for turn in turns for digest in (*turn.path, turn.answer) if digest}
        messages = await self._book.store.messages(wanted)
        bodies = {digest: msgspec.Raw(message.body) for digest, message in messages.items()}
        await self._respond(exchange, {"session": self._told(session), "turns": turns, "messages": bodies})

    async def _reward(self, exchange: Exchange) -> None:
        name, body = _id(exchange), await self._body(exchange, Reward)
        made = await self._book.rollouts.reward(name, {body.name: body.value})
        await self._respond(exchange, self._told(made))

    async def _annotate(self, exchange: Exchange) -> None:
        name, body = _id(exchange), await self._body(exchange, Annotation)
        await self._respond(
            exchange, self._told(await self._book.rollouts.annotate(name, body.note, body.metadata))
        )

    async def _finish(self, exchange: Exchange) -> None:
        name, body = _id(exchange), await self._body(exchange, Finish)
        is_idle = await self._book.rollouts.finish(name, body.seconds)
        await self._respond(exchange, {"status": "finished" if is_idle else "running"})

    async def _freeze(self, exchange: Exchange) -> None:
        name = _id(exchange)
        await self._body(exchange, Nothing)
        await self._respond(exchange, self._told(await self._book.rollouts.freeze(name)))

    async def _drop(self, exchange: Exchange) -> None:
        name = _id(exchange)
        await self._book.drop(name)
        await self._respond(exchange, {"status": "dropped"})

    # ---- bodies ------------------------------------------------------------------------------------------

    async def _body(self, exchange: Exchange, kind: type[Any]) -> Any:
        return await json_body(exchange, kind, self._settings)

    async def _respond(self, exchange: Exchange, value: object) -> None:
        await exchange.respond(200, msgspec.json.encode(value), [JSON])

    def _told(self, session: Session) -> Told:
        return Told(
            id=session.id,
            scope=session.scope,
            key=self._keys.made(session.id) if session.scope == SCOPE else "",
            state=session.state,
            created=session.created,
            metadata=session.metadata,
            budget=session.budget,
            sampling=session.sampling,
            rewards=session.rewards,
            notes=session.notes,
            incomplete=session.incomplete,
        )

    def _summed(self, summary: Summary) -> Told:
        told = self._told(summary.session)
        told.turns, told.tokens = summary.turns, summary.tokens
        return told


def _id(exchange: Exchange) -> str:
    name: str = exchange.scope["path_params"]["id"]
    if not name:
        raise NotFoundError("there is no session without a name")
    return name
