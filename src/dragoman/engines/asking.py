"""Questions about a server that many may have at a time: each is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from dragoman.engines.dialects.base import Ask, Reply
from dragoman.engines.transport import Transport
from dragoman.errors import EngineTimeoutError

T = TypeVar("T")


class Questions:
    """What is being asked of a server, and parts of answers that came too late; `limit`: seconds for one."""

    def __init__(self, transport: Transport, limit: float) -> None:
        self._transport = transport
        self._limit = limit
        self._asking: dict[str, asyncio.Task[Any]] = {}
        self._replies: dict[str, dict[tuple[str, bytes], Reply]] = {}

    def cancel(self) -> None:
        """Nobody waits for an answer any more."""
        for question in self._asking.values():
            question.cancel()

    def forget(self) -> None:
        """What was answered may not hold any more."""
        self._replies.clear()

    async def together(
        self, name: str, question: Callable[[Ask], Awaitable[T]], *, patient: bool = False
    ) -> T:
        """The answer to a question that many may have at a time: it is asked once, and all wait for that.

        patient: each part of it may take as long as an answer begins to take.
        """
        task: asyncio.Task[T] | None = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._in_parts(name, question, patient))
            task.add_done_callback(lambda done: self._answered(name, done))
        return await asyncio.shield(task)

    def _answered(self, name: str, task: asyncio.Task[Any]) -> None:
        del self._asking[name]
        # asked for, so that a failure which nobody waits for any more is no failure of the loop
        _ = task.cancelled() or task.exception()

    async def _in_parts(self, name: str, question: Callable[[Ask], Awaitable[T]], patient: bool) -> T:
        """The answer to a question that is put in several parts, each with its own timeout.

        Where the time was too short, the parts that were answered are kept for the next attempt.
        """
        replies = self._replies.pop(name, {})
        put = self._transport.ask_long if patient else self._transport.ask

        async def ask(path: str, body: object) -> Reply:
            part = (path, msgspec.json.encode(body))
            if part in replies:
                return replies[part]
            reply = await put(path, body)
            if reply.status == 200:
                replies[part] = reply
            return reply

        try:
            async with asyncio.timeout(self._limit):
                return await question(ask)
        except EngineTimeoutError:
            self._replies[name] = replies
            raise
        except TimeoutError as error:
            self._replies[name] = replies
            detail = f"no description of itself within {self._limit} s"
            raise EngineTimeoutError("the engine did not answer in time", log_detail=detail) from error
