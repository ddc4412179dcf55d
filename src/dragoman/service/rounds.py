"""Answers in rounds: the engine speaks, tools run here, the engine goes on, all in one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dragoman.engines.base import Answering
from dragoman.errors import PromptTooLongError
from dragoman.server_tools.run import ToolRun
from dragoman.service.stream import AnswerStream, Write
from dragoman.translate.rounds import RoundStream, WholeRounds
from dragoman.wire.openai import ChatRequest


class RoundedStream(AnswerStream):
    """A stream of such an answer; pings go on while tools run, and cancelling it ends them too."""

    def __init__(
        self,
        client: Answering,
        chat: ChatRequest,
        events: RoundStream,
        tools: ToolRun,
        *,
        on_first: Callable[[float], None],
        **more: Any,
    ) -> None:
        super().__init__(client, chat, events, on_first=self._first_token, **more)
        self._rounds = events
        self._tools = tools
        self._on_first_token: Callable[[float], None] | None = on_first

    async def tell(self, write: Write) -> None:
        """Writes the events of all rounds."""
        await super().tell(write)
        events = self._rounds
        while events.due:
            results = await self._tools.run(events.due, self._chat.messages)
            data, chat = events.give(results)
            await self._put(write, data)
            if chat is not None:
                await self._round(chat, write)
            self.error = events.fault

    async def _round(self, chat: ChatRequest, write: Write) -> None:
        """One more answer of the engine, if it has room for what the tools gave."""
        events = self._rounds
        try:
            await self._ask(chat)
        except PromptTooLongError:
            await self._put(write, events.full())
            return
        await self._pump(write)
        await self._put(write, b"" if events.finished else events.end())

    def _first_token(self, seconds: float) -> None:
        """The first token is that of the first round."""
        note, self._on_first_token = self._on_first_token, None
        if note is not None:
            note(seconds)

    async def _ask(self, chat: ChatRequest) -> None:
        """The engine's next answer, in the place of the last one."""
        last, self._chunks = self._chunks, None
        if last is not None:
            await last.aclose()
        self._chat = chat
        self._chunks = await self._client.stream_chat_completion(chat)


async def whole(
    client: Answering,
    chat: ChatRequest,
    rounds: WholeRounds,
    tools: ToolRun,
) -> str:
    """Plays all rounds of a whole answer; the engine that gave the last one."""
    completion = await client.chat_completion(chat)
    while due := rounds.take(completion):
        following = rounds.give(await tools.run(due, chat.messages))
        if following is None:
            break
        chat = following
        try:
            completion = await client.chat_completion(chat)
        except PromptTooLongError:
            rounds.full()
            break
    return completion.engine
