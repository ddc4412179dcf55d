"""VLLMInferenceEngine: vLLM in this process, which is the remote engine with no network between."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from dragoman.engines.base import EngineHealth
from dragoman.engines.in_process import NOWHERE, AppTransport
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.remote_control import VLLMControl
from dragoman.engines.vllm.arguments import check_version, command_line
from dragoman.errors import EngineUnavailableError
from dragoman.settings import EngineEntry, Limits, Timeouts

if TYPE_CHECKING:
    from dragoman.engines.vllm.api import LoadedVLLM


class VLLMInferenceEngine(RemoteInferenceEngine):
    """vLLM's `AsyncLLM` in this process, with vLLM's own rendering, tool parser and reasoning parser.

    `model` is a path or a name that vLLM knows; `arguments` are those of `vllm serve` by their names
    (`{"max_model_len": 2048}`). `entry` has what every engine has: name, models, bounds. `start` loads the
    model: `EngineUnavailableError` where vLLM is not installed or cannot, `EngineConfigurationError` for a
    version that is not accepted, `SettingsError` for arguments that are none.
    """

    def __init__(
        self,
        model: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        entry: EngineEntry | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
    ) -> None:
        entry = entry or EngineEntry(url=NOWHERE)
        # vLLM may have one in its environment; what reaches the application is ours alone
        key = secrets.token_urlsafe(32)
        timeouts = timeouts or Timeouts()
        self._app = AppTransport(key, timeouts, limits or Limits())
        super().__init__(
            msgspec.structs.replace(
                entry,
                kind="remote",
                url=NOWHERE,
                model="",
                arguments={},
                name=entry.name or PurePath(model).name,
                key=key,
                dialect="vllm",
            ),
            timeouts,
            transport=self._app,
        )
        self._model = model
        self._arguments = {**(arguments or {}), "api_key": [key]}
        self._loaded: LoadedVLLM | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Loads the model, once; other tasks go on meanwhile."""
        async with self._starting:
            if self._loaded is None:
                await self._begin(await self._within_time())
        await super().start()

    async def _begin(self, loaded: LoadedVLLM) -> None:
        try:
            self._app.app = await loaded.application()
        except BaseException:  # cancelled, too: its processes would go on without an owner
            await asyncio.to_thread(loaded.shutdown)
            raise
        self._loaded = loaded
        self._control = VLLMControl(self.name, self._app.ask_long)

    async def _within_time(self) -> LoadedVLLM:
        loading = asyncio.create_task(asyncio.to_thread(self._load))
        try:
            async with asyncio.timeout(self._timeouts.load):
                return await asyncio.shield(loading)
        except TimeoutError as error:
            loading.add_done_callback(_drop)
            message = f"loading {self._model} took longer than timeouts.load ({self._timeouts.load:g} s)"
            raise EngineUnavailableError(message) from error
        except asyncio.CancelledError:
            loading.add_done_callback(_drop)
            raise

    async def health(self) -> EngineHealth:
        """Whether the model is loaded and its processes live; never raises."""
        if self._loaded is None:
            return EngineHealth("loading", "the model is not loaded")
        return await super().health()

    async def running(self) -> int | None:
        """As vLLM counts them."""
        return self._loaded.running if self._loaded is not None else None

    async def aclose(self) -> None:
        """Ends all calls and vLLM's processes."""
        await super().aclose()
        self._app.app = None
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await asyncio.to_thread(loaded.shutdown)

    def _load(self) -> LoadedVLLM:
        check_version()
        # imported late, and here: it takes seconds, and is not installed with Dragoman
        api = importlib.import_module("dragoman.engines.vllm.api")
        loaded: LoadedVLLM = api.LoadedVLLM.load(command_line(self._model, self._arguments))
        return loaded


def _drop(loading: asyncio.Task[LoadedVLLM]) -> None:
    """What was loaded for nobody ends."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result().shutdown()
