"""/admin: the control plane of the engines, for trainers and operators, behind a key of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.routing import Route

from dragoman.engines.control import PauseMode
from dragoman.engines.registry import build_engine
from dragoman.errors import InvalidRequestError, NotFoundError, SettingsError
from dragoman.routing.client import InferenceEngineClient
from dragoman.server.door import Endpoint
from dragoman.server.exchange import Exchange
from dragoman.server.guard import Guard
from dragoman.server.json_bodies import json_body
from dragoman.settings import EngineEntry, Seconds, Settings


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A body of which nothing is ignored."""


class Pause(_Strict):
    """How to pause."""

    mode: PauseMode = "keep"


class Sleep(_Strict):
    """How deep to sleep."""

    level: Literal[1, 2] = 1


class Wake(_Strict):
    """What to wake."""

    tags: tuple[str, ...] = ()


class Info(_Strict):
    """How to join a trainer's group, in the engine's own terms."""

    info: dict[str, Any]


class Update(_Strict):
    """New weights, in the engine's own terms, with their `weight_version`."""

    update: dict[str, Any]


class Session(_Strict):
    """A session that is over, as the client named it, and the key's name that it used."""

    session_id: Annotated[str, Meta(min_length=1)]
    key: str = ""


class Drain(_Strict):
    """How long running answers may take."""

    seconds: Seconds = 30.0


class Nothing(_Strict):
    """No parameters."""


class Engine(msgspec.Struct):
    """One engine, as it stands."""

    name: str
    status: str
    detail: str
    models: list[str]
    in_flight: int
    load: int
    is_draining: bool
    weight_version: str
    controls: list[str]


class AdminEndpoint:
    """The paths under /admin. Bodies are JSON, an empty one is `{}`; unknown fields are refused."""

    def __init__(self, client: InferenceEngineClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        # the same door with another key
        keys = {"admin": settings.admin_key} if settings.admin_key else {}
        self._guard = Guard(msgspec.structs.replace(settings, api_keys=keys, admin_key=""))

    def routes(self, before: Callable[[], Awaitable[None]]) -> list[Route]:
        """The paths; none without a key."""
        if not self._settings.admin_key:
            return []
        control = self._client.control_plane
        posts: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[object]]]] = {
            "pause": (Pause, lambda body: control.pause_generation(body.mode)),
            "resume": (Nothing, lambda _: control.resume_generation()),
            "sleep": (Sleep, lambda body: control.sleep(body.level)),
            "wake_up": (Wake, lambda body: control.wake_up(body.tags)),
            "reset_prefix_cache": (Nothing, lambda _: control.reset_prefix_cache()),
            "init_weight_update": (Info, lambda body: control.init_weight_update_communicator(body.info)),
            "update_weights": (Update, lambda body: control.update_named_weights(body.update)),
            "teardown": (Nothing, lambda _: control.teardown()),
            "finish_session": (Session, self._finish),
        }
        routes = [
            Route(f"/admin/{path}", self._endpoint(before, POST=self._told(kind, call)))
            for path, (kind, call) in posts.items()
        ]
        return [
            *routes,
            Route("/admin/weight_version", self._endpoint(before, GET=self._versions)),
            Route("/admin/engines", self._endpoint(before, GET=self._engines, POST=self._add)),
            Route("/admin/engines/{name:path}/drain", self._endpoint(before, POST=self._drain)),
            Route("/admin/engines/{name:path}", self._endpoint(before, DELETE=self._remove)),
        ]

    def _endpoint(
        self, before: Callable[[], Awaitable[None]], **handlers: Callable[[Exchange], Awaitable[None]]
    ) -> Endpoint:
        return Endpoint(self._guard, handlers, before=before)

    def _told(
        self, kind: type[msgspec.Struct], call: Callable[[Any], Awaitable[object]]
    ) -> Callable[[Exchange], Awaitable[None]]:
        """A handler that reads a body, does what it says, and tells that it is done."""

        async def handle(exchange: Exchange) -> None:
            await call(await self._body(exchange, kind))
            await exchange.respond(200, b'{"status":"ok"}')

        return handle

    async def _body(self, exchange: Exchange, kind: type[Any]) -> Any:
        return await json_body(exchange, kind, self._settings)

    async def _finish(self, body: Session) -> None:
        await self._client.finish_session(f"{body.key}\0{body.session_id}")

    async def _versions(self, exchange: Exchange) -> None:
        versions = await self._client.control_plane.weight_versions()
        await exchange.respond(200, msgspec.json.encode({"engines": versions}))

    async def _engines(self, exchange: Exchange) -> None:
        engines = [
            Engine(
                name=member.name,
                status=member.health.status,
                detail=member.health.detail,
                models=[card.id for card in member.models],
                in_flight=member.in_flight,
                load=member.load,
                is_draining=member.is_draining,
                weight_version=member.weight_version,
                controls=sorted(member.engine.control.operations),
            )
            for member in self._client.engines.values()
        ]
        await exchange.respond(200, msgspec.json.encode({"engines": engines}))

    async def _add(self, exchange: Exchange) -> None:
        entry: EngineEntry = await self._body(exchange, EngineEntry)
        try:
            await self._client.add(build_engine(entry, self._settings))
        except SettingsError as error:
            raise InvalidRequestError(error.message) from error
        await exchange.respond(200, b'{"status":"ok"}')

    async def _drain(self, exchange: Exchange) -> None:
        name, body = self._named(exchange), await self._body(exchange, Drain)
        is_idle = await self._client.drain(name, body.seconds)
        await exchange.respond(200, msgspec.json.encode({"status": "idle" if is_idle else "draining"}))

    async def _remove(self, exchange: Exchange) -> None:
        name, body = self._named(exchange), await self._body(exchange, Drain)
        await self._client.remove(name, body.seconds)
        await exchange.respond(200, b'{"status":"ok"}')

    def _named(self, exchange: Exchange) -> str:
        name: str = exchange.scope["path_params"]["name"]
        if name not in self._client.engines:
            raise NotFoundError(
                f"no engine is called {name[:100]!r}; there is {', '.join(self._client.engines)}"
            )
        return name
