"""Turns while they run: begun with what their session holds, committed before their last byte leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from dragoman.errors import ApiError, DragomanError
from dragoman.ledger.canonical import Canonical, answer_of, request_digest
from dragoman.ledger.index import Earlier, Index
from dragoman.ledger.interface import LedgerStore
from dragoman.ledger.rollouts import SCOPE, Rollouts
from dragoman.ledger.sessions import Used, asked_by, check_budget, overridden, used_by
from dragoman.ledger.values import Message, Sample, Sampling, Turn
from dragoman.observe.logs import log
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.request import MessagesRequest
from dragoman.wire.identity import Caller

# Seconds.
_SWEEPS_APART = 3600.0


class LedgerUnwritableError(ApiError):
    """500: the turn could not be recorded, and the settings demand that it is."""


class Ledger:
    """Records the turns of all sessions.

    now: seconds since 1970. is_required: a turn that cannot be kept fails its call; else the answer goes out
    and its session is marked incomplete. seconds, most_bytes: how long sessions that do not change are kept,
    and how much of all (0: no bound).
    """

    def __init__(
        self,
        store: LedgerStore,
        canonical: Canonical,
        *,
        now: Callable[[], float],
        is_required: bool = False,
        index: Index | None = None,
        seconds: float = 0.0,
        most_bytes: int = 0,
    ) -> None:
        self.store = store
        self.canonical = canonical
        self.now = now
        self.is_required = is_required
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._sweeping: asyncio.Task[None] | None = None
        self._swept = float("-inf")
        self.index = index or Index()
        self.rollouts = Rollouts(store, now=now)
        self._live: set[str] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Opens what is kept; what cannot be read is logged, and its sessions are marked. Once is enough."""
        for finding in await self.store.open():
            log(logging.ERROR, "the ledger is damaged", {"detail": finding})
        self._sweep_if_due()

    async def aclose(self) -> None:
        """Writes what waits. Safe to call twice."""
        if self._opening:
            await asyncio.wait(self._opening)
        if self._sweeping is not None:
            await asyncio.wait({self._sweeping})
        await self.store.aclose()

    def _sweep_if_due(self) -> None:
        """From time to time, forgets what is too old or too much, beside the calls."""
        now = self.now()
        if not (self._seconds or self._most_bytes) or now - self._swept < _SWEEPS_APART:
            return
        self._swept = now
        self._sweeping = asyncio.create_task(self._sweep(now - self._seconds if self._seconds else 0.0))

    async def _sweep(self, older_than: float) -> None:
        try:
            await self.store.sweep(older_than=older_than, most_bytes=self._most_bytes)
        except DragomanError as error:
            log(logging.ERROR, "the ledger was not swept", {"detail": error.log_detail or error.message})

    async def begin(self, request: MessagesRequest, caller: Caller) -> Record:
        """The turn of a request, with what came before it in its session.

        Raises `BudgetSpentError` where the session may take no more.
        """
        self._sweep_if_due()
        key = caller.session
        is_named = key is not None and key.durable
        session = key.value if key is not None and is_named else caller.request_id
        if is_named and not self.index.knows(caller.scope, session):
            turns = await self.store.turns(caller.scope, session)
            # another request of the session may have opened it meanwhile
            if not self.index.knows(caller.scope, session):
                self.index.open(caller.scope, session, turns)
        sampling = await self._admitted(caller, session)
        asked, request = asked_by(request), overridden(request, sampling)
        path = self.canonical.path(request)
        turn = Turn(
            id=caller.request_id,
            scope=caller.scope,
            session=session,
            session_evidence=key.evidence if key is not None and is_named else "none",
            agent=caller.agent_id or "",
            parent_agent=caller.parent_agent_id or "",
            agent_evidence="agent id" if caller.agent_id else "",
            path=path,
            request=request_digest(request, path),
            model=request.model,
            sampling=used_by(sampling, request),
            asked=asked,
            began=self.now(),
        )
        earlier = self.index.earlier(caller.scope, session, path) if is_named else None
        self._enter(turn)
        record = Record(self, turn, request, earlier)
        # not waited for: if the process ends, the turn is known to have begun
        opened = asyncio.create_task(self._open(turn, request))
        self._opening.add(opened)
        opened.add_done_callback(self._opening.discard)
        return record

    async def keep(self, turn: Turn, request: MessagesRequest, answer: Message | None) -> None:
        """Writes a turn with those of its messages that were not written yet."""
        self.index.add(turn)
        try:
            await self._put(turn, request, answer)
        except DragomanError as error:
            await self._missed(turn, error)

    async def _put(self, turn: Turn, request: MessagesRequest, answer: Message | None) -> None:
        def messages(digests: Collection[str]) -> list[Message]:
            found = self.canonical.bodies(request, turn.path, digests.__contains__)
            return found if answer is None or answer.digest not in digests else [*found, answer]

        await self.store.put(turn, messages)

    async def _open(self, turn: Turn, request: MessagesRequest) -> None:
        """Notes that a turn has begun; where that fails, its end will say so."""
        with suppress(DragomanError):
            await self._put(turn, request, None)

    async def _missed(self, turn: Turn, error: DragomanError) -> None:
        detail = error.log_detail or error.message
        log(logging.ERROR, "a turn was not recorded", {"id": turn.id, "detail": detail})
        if self.is_required:
            message = "the answer could not be recorded"
            raise LedgerUnwritableError(message, log_detail=detail) from error
        try:
            await self.store.mark_incomplete(turn.scope, turn.session, "a turn was not recorded")
        except DragomanError as again:
            detail = again.log_detail or again.message
            log(logging.ERROR, "a session was not marked incomplete", {"id": turn.id, "detail": detail})

    async def _admitted(self, caller: Caller, session: str) -> Sampling:
        """What a rollout samples with, where it may take one more turn."""
        if caller.scope != SCOPE:
            return Sampling()
        rollout = await self.rollouts.get(session)
        turns = self.index.turns(caller.scope, session)
        used = Used(len(turns), sum(turn.completion_tokens for turn in turns))
        check_budget(rollout, used, self.now())
        return rollout.sampling

    async def drop(self, name: str) -> None:
        """Forgets a rollout, also what is remembered of it."""
        await self.rollouts.drop(name)
        self.index.forget(SCOPE, name)

    def _enter(self, turn: Turn) -> None:
        self._live.add(turn.id)
        if turn.scope == SCOPE:
            self.rollouts.entered(turn.session)

    def over(self, turn: Turn) -> None:
        """The client of a turn is gone or served. Safe to call twice."""
        if turn.id in self._live:
            self._live.discard(turn.id)
            if turn.scope == SCOPE:
                self.rollouts.left(turn.session)


class Record:
    """One turn that runs; `request` is sampled as its session says.

    `earlier` is what its prompt may go on from.
    """

    def __init__(self, ledger: Ledger, turn: Turn, request: MessagesRequest, earlier: Earlier | None) -> None:
        self.turn = turn
        self.request = request
        self.earlier = earlier
        self._ledger = ledger
        self._answer: Message | None = None

    async def commit(self, content: Sequence[ContentBlock], samples: Sequence[Sample], **said: Any) -> None:
        """Keeps the turn with its whole answer. said: stop_reason, prompt_tokens, completion_tokens, ..."""
        self._answer = answer_of(content)
        await self._end(state="done", answer=self._answer.digest, samples=tuple(samples), **said)

    async def delivered(self) -> None:
        """The last byte went out."""
        self._ledger.over(self.turn)
        if self.turn.state == "done":
            self.turn = msgspec.structs.replace(self.turn, delivered=True)
            await self._ledger.keep(self.turn, self.request, self._answer)

    async def failed(self, error: str, samples: Sequence[Sample] = ()) -> None:
        """The turn ended with an error; nothing where it is over."""
        if self.turn.state == "open":
            await self._end(state="failed", error=error, samples=tuple(samples))
        self._ledger.over(self.turn)

    async def cut(self, samples: Sequence[Sample] = ()) -> None:
        """The client went away; nothing where the turn is over."""
        if self.turn.state == "open":
            await self._end(state="cut", samples=tuple(samples))
        self._ledger.over(self.turn)

    async def _end(self, **changes: Any) -> None:
        self.turn = msgspec.structs.replace(self.turn, ended=self._ledger.now(), **changes)
        await self._ledger.keep(self.turn, self.request, self._answer)
