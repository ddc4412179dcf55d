"""The actor: an engine in a process of Ray, which others ask and read."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from dragoman.engines.base import (
    ChatStream,
    EngineHealth,
    InferenceEngine,
    RelayedAnswer,
    TokenStream,
    unwell,
)
from dragoman.engines.ray.values import (
    MISSED,
    WINDOW,
    Door,
    Failed,
    Opened,
    Recipe,
    Standing,
    encode,
    fault,
)
from dragoman.errors import DragomanError, OverloadedError

Answer = ChatStream | TokenStream | RelayedAnswer


class EngineActor:
    """Makes its engine by the recipe when it is first asked for, also after Ray began it anew."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._life = secrets.token_hex(8)
        self._engine: InferenceEngine | None = None
        self._starting: asyncio.Task[InferenceEngine] | None = None
        self._readers: dict[str, _Reader] = {}

    async def start(self) -> Standing | Failed:
        """Returns when the engine is started, or with what keeps it from that."""
        try:
            await asyncio.shield(self._start())
        except DragomanError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - a factory may raise anything
            return fault(error)
        return await self.standing()

    async def standing(self) -> Standing:
        """How the engine is; one that is not started begins to."""
        operations = frozenset[Any]()
        try:
            engine = self._started()
        except DragomanError as error:
            health = unwell(error)
        except Exception as error:  # noqa: BLE001 - as above
            health = EngineHealth("failed", fault(error).error.log_detail)
        else:
            health = await engine.health()
            operations = engine.control.operations
        return Standing(health, operations, self._life, self._recipe.digest)

    async def ask(self, question: str, *arguments: Any) -> Any:
        """The answer of one of the engine's methods, or the error that it raised."""
        try:
            return await getattr(self._started(), question)(*arguments)
        except DragomanError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - it must not come out as one of Ray's
            return fault(error)

    async def control(self, operation: str, *arguments: Any) -> Any:
        """One call of the control plane, as above."""
        try:
            return await getattr(self._started().control, operation)(*arguments)
        except DragomanError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - as above
            return fault(error)

    async def stream(
        self, call: str, door: Door, request: Any, pulse: float
    ) -> AsyncIterator[Opened | bytes | Failed]:
        """An answer: that it began, then its reads as bytes, or what ended it.

        No more reads go out than the reader has asked for: Ray would keep them all. A reader that is not
        heard of, as it should be every `pulse` seconds, is gone: then this is cancelled, as by a close.
        """
        answer: Answer | None = None
        reader = self._readers[call] = _Reader(pulse)
        try:
            answer = await self._open(door, request)
            yield _opened(answer)
            async for item in answer:
                # one that is there and reads nothing holds the engine no longer than an engine may hold it
                async with asyncio.timeout(self._recipe.settings.timeouts.between_bytes):
                    await reader.window.acquire()
                yield encode(item)
        except DragomanError as error:
            yield Failed(error)
        except Exception as error:  # noqa: BLE001 - as above
            yield fault(error)
        finally:
            self._readers.pop(call, None)
            reader.close()
            if answer is not None:
                await answer.aclose()

    async def more(self, call: str, count: int) -> None:
        """The reader of a stream is there, and took so many items."""
        reader = self._readers.get(call)
        if reader is not None:
            reader.heard(count)

    async def aclose(self) -> None:
        """Ends the engine."""
        starting, self._starting = self._starting, None
        engine, self._engine = self._engine, None
        if starting is not None:
            starting.cancel()
        if engine is not None:
            await engine.aclose()

    # ---- the engine ----------------------------------------------------------------------------------------

    async def _open(self, door: Door, request: Any) -> Answer:
        engine = self._started()
        if door == "chat":
            return await engine.stream_chat_completion(request)
        if door == "tokens":
            return await engine.stream_tokens(request)
        return await engine.relay(request)

    def _start(self) -> asyncio.Task[InferenceEngine]:
        failed = self._starting is not None and self._starting.done() and self._engine is None
        if self._starting is None or failed:
            self._starting = asyncio.get_running_loop().create_task(self._begin())
        return self._starting

    async def _begin(self) -> InferenceEngine:
        engine = self._recipe.engine()
        await engine.start()
        self._engine = engine
        return engine

    def _started(self) -> InferenceEngine:
        """The engine; `OverloadedError` while it starts, and once what a start failed with."""
        if self._engine is not None:
            return self._engine
        before = self._starting
        self._start()
        if before is not None and before.done() and not before.cancelled():
            failure = before.exception()
            if failure is not None:
                raise failure
        raise OverloadedError("the engine is starting", log_detail="its actor starts it", retry_after=1)


class _Reader:
    """Who reads the stream of this task: what may go out to it, and whether it is still there."""

    def __init__(self, pulse: float) -> None:
        self.window = asyncio.Semaphore(WINDOW)
        self._pulse = pulse
        self._missed = 0
        self._task = asyncio.current_task()
        self._next = asyncio.get_running_loop().call_later(pulse, self._miss)

    def heard(self, count: int) -> None:
        """It took so many items."""
        self._missed = 0
        for _ in range(count):
            self.window.release()

    def close(self) -> None:
        """Waits for it no longer."""
        self._next.cancel()

    def _miss(self) -> None:
        # counted, not timed: while this process itself stood still, nobody could be heard
        self._missed += 1
        if self._missed <= MISSED:
            self._next = asyncio.get_running_loop().call_later(self._pulse, self._miss)
        elif self._task is not None:
            self._task.cancel()


def _opened(answer: Answer) -> Opened:
    if isinstance(answer, RelayedAnswer):
        return Opened(answer.engine, answer.status, answer.content_type)
    return Opened(answer.engine)
