"""The control plane of an engine in an actor: every call goes there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dragoman.engines.control import ControlNotSupportedError, EngineControl, Operation, PauseMode

Send = Callable[..., Awaitable[Any]]


class RayControl(EngineControl):
    """`send` takes an operation and its arguments there; `operations`: what the engine said that it has."""

    def __init__(self, engine: str, operations: frozenset[Operation], send: Send) -> None:
        super().__init__(engine)
        self.operations = operations
        self._send = send

    async def _passed(self, operation: Operation, *arguments: Any) -> Any:
        if operation not in self.operations:
            raise ControlNotSupportedError(self.engine, operation)
        return await self._send(operation, *arguments)

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        """As the engine does it."""
        await self._passed("pause_generation", mode)

    async def resume_generation(self) -> None:
        """As the engine does it."""
        await self._passed("resume_generation")

    async def sleep(self, level: int = 1) -> None:
        """As the engine does it."""
        await self._passed("sleep", level)

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        """As the engine does it."""
        await self._passed("wake_up", tags)

    async def reset_prefix_cache(self) -> None:
        """As the engine does it."""
        await self._passed("reset_prefix_cache")

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        """As the engine does it."""
        await self._passed("init_weight_update_communicator", dict(info))

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        """As the engine does it."""
        await self._passed("update_named_weights", dict(update))

    async def weight_version(self) -> str:
        """As the engine tells it."""
        version: str = await self._passed("weight_version")
        return version

    async def finish_session(self, session: str) -> None:
        """As the engine does it."""
        await self._passed("finish_session", session)

    async def teardown(self) -> None:
        """As the engine does it."""
        await self._passed("teardown")
