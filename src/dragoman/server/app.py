"""The ASGI application: which path leads where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from dragoman.engines.base import InferenceEngine
from dragoman.observe.metrics import Metrics
from dragoman.routing.client import InferenceEngineClient
from dragoman.server.admin import AdminEndpoint
from dragoman.server.batches import BatchesEndpoint
from dragoman.server.door import Door, Endpoint, not_found
from dragoman.server.files import FilesEndpoint
from dragoman.server.guard import Guard
from dragoman.server.ids import new_id
from dragoman.server.ledger import LedgerEndpoint
from dragoman.server.messages import MessagesEndpoint
from dragoman.server.models import ModelsEndpoint
from dragoman.server.openai import OpenAIEndpoint
from dragoman.server.starter import Starter
from dragoman.server.status import StatusEndpoint
from dragoman.server.traffic import Traffic
from dragoman.server_tools.base import ServerTools
from dragoman.service import MessagesService, signature_keys
from dragoman.service.batches import BatchRunner
from dragoman.service.ledger import configured_ledger
from dragoman.service.openai_door import OPENAI_PATHS, OpenAIDoor
from dragoman.settings import Settings
from dragoman.translate.signature import Signer


class DragomanApp(Starlette):
    """The server as an ASGI application; `traffic` is what it is answering now."""

    def __init__(self, service: MessagesService, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.service = service
        self.guard = Guard(settings)
        self.traffic = Traffic(settings.limits.requests)
        self._starter = Starter(service.client)
        started = partial(self._starter.ensure, settings.timeouts.first_byte)
        self.batches = BatchRunner(service, settings, ids=new_id, ready=started)
        self.router = Router(
            self._paths(), redirect_slashes=False, default=not_found, lifespan=self._lifespan
        )

    def build_middleware_stack(self) -> ASGIApp:
        """The door alone: Starlette's own layers would wrap every stream."""
        return Door(self.router, self.guard, self.settings, self.service.metrics, partial(new_id, "req"))

    def _paths(self) -> list[Route]:
        messages = MessagesEndpoint(self.service, self.settings, self.guard, self.traffic)
        models = ModelsEndpoint(self.service)
        timeouts = self.settings.timeouts
        status = StatusEndpoint(self.service, self.traffic, partial(self._starter.ensure, timeouts.probe))
        started = partial(self._starter.ensure, timeouts.first_byte)
        keyed = partial(Endpoint, self.guard, before=started)
        stored = partial(Endpoint, self.guard)
        public = partial(Endpoint, self.guard, is_public=True)
        store, settings = self.service.store, self.settings
        files = FilesEndpoint(store.files, settings, self.guard, self.traffic, new_id)
        batches = BatchesEndpoint(
            self.batches,
            store=store.batches,
            settings=settings,
            guard=self.guard,
            traffic=self.traffic,
            ids=new_id,
        )
        return [
            Route("/v1/messages", keyed({"POST": messages.create})),
            Route("/v1/messages/count_tokens", keyed({"POST": messages.count})),
            Route("/v1/messages/batches", stored({"GET": batches.list, "POST": batches.create})),
            Route("/v1/messages/batches/{id}", stored({"GET": batches.get, "DELETE": batches.delete})),
            Route("/v1/messages/batches/{id}/cancel", stored({"POST": batches.cancel})),
            Route("/v1/messages/batches/{id}/results", stored({"GET": batches.results})),
            *(Route(path, keyed({"POST": self._passing(path).create})) for path in OPENAI_PATHS),
            Route("/v1/models", keyed({"GET": models.list})),
            Route("/v1/models/{id:path}", keyed({"GET": models.get})),
            Route("/v1/files", stored({"GET": files.list, "POST": files.create})),
            Route("/v1/files/{id}", stored({"GET": files.get, "DELETE": files.delete})),
            Route("/v1/files/{id}/content", stored({"GET": files.content})),
            *AdminEndpoint(self.service.client, settings).routes(started),
            *LedgerEndpoint(self.service.ledger, settings).routes(),
            Route("/", public({"GET": status.hello})),
            Route("/api/hello", public({"GET": status.hello})),
            Route("/health", public({"GET": status.health})),
            Route("/ready", public({"GET": status.ready})),
            Route("/metrics", Endpoint(self.guard, {"GET": status.metrics})),
        ]

    def _passing(self, path: str) -> OpenAIEndpoint:
        service, settings = self.service, self.settings
        door = OpenAIDoor(service.client)
        return OpenAIEndpoint(
            path,
            door,
            metrics=service.metrics,
            settings=settings,
            guard=self.guard,
            traffic=self.traffic,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[None]:
        """Starts the engines with the server and frees them after it, where somebody else runs the server."""
        await self.service.client.start()
        await self.service.start_ledger()
        self.batches.start()
        yield
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the batches, of which nothing is lost, and all that the service has: engines and store."""
        await self.batches.aclose()
        await self.service.aclose()


def create_app(
    served: MessagesService | InferenceEngine,
    settings: Settings | None = None,
    *,
    server_tools: ServerTools | None = None,
) -> DragomanApp:
    """The application over a service, an engine, or a client of many engines.

    It can be mounted in another application, which does not run its lifespan: then the first request starts
    the engines, and whoever mounts it closes them with `app.aclose()`. `server_tools` take the place of those
    that the settings name; a service has its own.
    """
    settings = settings or Settings()
    if not isinstance(served, MessagesService):
        served = create_service(served, settings, server_tools=server_tools)
    return DragomanApp(served, settings)


def create_service(
    engine: InferenceEngine,
    settings: Settings,
    metrics: Metrics | None = None,
    *,
    server_tools: ServerTools | None = None,
) -> MessagesService:
    """The service over an engine, or over a client of many, with the settings' signature keys and ledger."""
    client = (
        engine if isinstance(engine, InferenceEngineClient) else InferenceEngineClient([engine], settings)
    )
    return MessagesService(
        client,
        Signer(signature_keys(settings)),
        settings,
        ids=new_id,
        metrics=metrics,
        server_tools=server_tools,
        ledger=configured_ledger(settings),
    )
