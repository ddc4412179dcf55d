"""LlamaCppInferenceEngine: llama.cpp in this process, which is the remote engine with a model loaded."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec

from dragoman.engines.base import EngineHealth
from dragoman.engines.llamacpp.aided import AidedInferenceEngine
from dragoman.engines.llamacpp.params import ServerParams, server_params
from dragoman.engines.llamacpp.server import LlamaServer, has_gpu, load_library
from dragoman.errors import EngineUnavailableError
from dragoman.models import LocalModel, PromptAids, locate
from dragoman.models.gguf import read_head
from dragoman.models.progress import Report, Silence
from dragoman.settings import EngineEntry, Limits, LocalEngine, Timeouts

# No server listens there: the real port is known when the model is loaded.
NOT_YET = "http://127.0.0.1:0"


class LlamaCppInferenceEngine(AidedInferenceEngine):
    """A model file served by llama.cpp in this process, on a loopback port that only this object can use.

    `model` is a path, a name of the catalogue, or empty for its default; `start` fetches it if need be,
    told to `report`, and loads it. Its served name is the catalogue's, or the file's stem. `aids` take the
    place of those of the catalogue. Raises `EngineUnavailableError` for what is missing here: the package, a
    system library, the file.
    """

    def __init__(
        self,
        model: str = "",
        *,
        local: LocalEngine | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        report: Report | None = None,
        aids: PromptAids | None = None,
        name: str = "local",
    ) -> None:
        self._key = secrets.token_urlsafe(32)
        entry = EngineEntry(url=NOT_YET, name=name, key=self._key, dialect="llamacpp")
        super().__init__(entry, timeouts, limits, aids)
        self._model = model
        self._local = local or LocalEngine()
        self._report: Report = report or Silence()
        self._server: LlamaServer | None = None
        self._aided_as = ""

    @property
    def params(self) -> ServerParams | None:
        """What llama.cpp was started with, None before `start`."""
        return self._server.params if self._server is not None else None

    @property
    def entry(self) -> EngineEntry:
        """What another process of this machine needs to use the loaded model; holds its key."""
        models = (self._server.params.name,) if self._server is not None else ()
        return msgspec.structs.replace(
            self._entry, url=self._transport.root, models=models, aids=self._aided_as
        )

    async def start(self) -> None:
        """Fetches the model if need be and loads it; other tasks go on meanwhile."""
        # Before a model of half a gigabyte is fetched for nothing.
        await asyncio.to_thread(load_library)
        found = await locate(self._model, self._local.cache_dir, self._report)
        if found.aids is not None and self._aids is None and self._local.prompt_aids:
            self._aids, self._aided_as = found.aids, found.name
        self._report.wait(f"loading {found.name}")
        try:
            async with asyncio.timeout(self._timeouts.load):
                self._server = await asyncio.to_thread(self._load, found)
        except TimeoutError as error:
            message = f"loading {found.path} took longer than timeouts.load ({self._timeouts.load:g} s)"
            raise EngineUnavailableError(message) from error
        finally:
            self._report.end()
        self._transport.root = self._server.address
        await super().start()

    async def health(self) -> EngineHealth:
        """Whether the model is loaded and its server answers; never raises."""
        if self._server is None:
            return EngineHealth("loading", "the model is not loaded")
        return await super().health()

    async def aclose(self) -> None:
        """Closes the connections, ends the server and frees the model."""
        await super().aclose()
        server, self._server = self._server, None
        if server is not None:
            self._transport.root = NOT_YET
            await asyncio.to_thread(server.stop)

    def _load(self, found: LocalModel) -> LlamaServer:
        path = Path(found.path)
        params = server_params(path, found.name, read_head(path), self._key, self._local, gpu=has_gpu())
        return LlamaServer.start(params)
