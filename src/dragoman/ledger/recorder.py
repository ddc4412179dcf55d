"""Turns while they run: begun with what their session holds, committed before their last byte leaves."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from dragoman.errors import ApiError, DragomanError
from dragoman.ledger.canonical import Canonical, answer_of, request_digest
from dragoman.ledger.index import Earlier, Index
from dragoman.ledger.values import Message, Sample, Sampling, Turn
from dragoman.observe.logs import log
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.request import MessagesRequest
from dragoman.wire.identity import Caller

_REMEMBERED = 65_536


class Keeping(Protocol):
    """What the recorder needs of a store."""

    async def put(self, turn: Turn, messages: Sequence[Message]) -> None:
        """Keeps a turn and messages; when it returns, they are on the disk."""
        ...

    async def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session."""
        ...

    async def mark_incomplete(self, scope: str, session: str, why: str) -> None:
        """Something of the session is missing."""
        ...


class LedgerUnwritableError(ApiError):
    """500: the turn could not be recorded, and the settings demand that it is."""


class Ledger:
    """Records the turns of all sessions.

    now: seconds since 1970. is_required: a turn that cannot be kept fails its call; else the answer goes out
    and its session is marked incomplete.
    """

    def __init__(
        self,
        store: Keeping,
        canonical: Canonical,
        *,
        now: Callable[[], float],
        is_required: bool = False,
        index: Index | None = None,
    ) -> None:
        self.store = store
        self.canonical = canonical
        self.now = now
        self.is_required = is_required
        self.index = index or Index()
        self._kept: OrderedDict[str, None] = OrderedDict()
        self._live: set[str] = set()

    async def begin(self, request: MessagesRequest, caller: Caller) -> Record:
        """The turn of a request, with what came before it in its session."""
        key = caller.session
        is_named = key is not None and key.durable
        session = key.value if key is not None and is_named else caller.request_id
        if is_named and not self.index.knows(caller.scope, session):
            self.index.open(caller.scope, session, await self.store.turns(caller.scope, session))
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
            sampling=_sampling(request),
            asked=_sampling(request),
            began=self.now(),
        )
        same = self.index.same(caller.scope, session, turn.agent, turn.request) if is_named else []
        replayed = next((each for each in same if self._may_replay(each)), None)
        earlier = self.index.earlier(caller.scope, session, path) if is_named else None
        self._live.add(turn.id)
        self.index.add(turn)
        return Record(self, turn, request, earlier=earlier, replayed=replayed)

    def _may_replay(self, turn: Turn) -> bool:
        """Whether an equal request gets this turn's answer: it is whole, and nobody got it."""
        return turn.state == "done" and not turn.delivered and turn.id not in self._live

    async def keep(self, turn: Turn, request: MessagesRequest, answer: Message | None) -> None:
        """Writes a turn with those of its messages that were not written yet."""
        messages = self.canonical.bodies(request, turn.path, lambda digest: digest not in self._kept)
        if answer is not None and answer.digest not in self._kept:
            messages.append(answer)
        self.index.add(turn)
        try:
            await self.store.put(turn, messages)
        except DragomanError as error:
            await self._missed(turn, error)
            return
        for message in messages:
            self._kept[message.digest] = None
        while len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)

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

    def over(self, turn: Turn) -> None:
        """The client of a turn is gone or served."""
        self._live.discard(turn.id)


class Record:
    """One turn that runs. `earlier` is what its prompt may go on from, `replayed` whose answer it may get."""

    def __init__(
        self,
        ledger: Ledger,
        turn: Turn,
        request: MessagesRequest,
        *,
        earlier: Earlier | None,
        replayed: Turn | None,
    ) -> None:
        self.turn = turn
        self.earlier = earlier
        self.replayed = replayed
        self._ledger = ledger
        self._request = request
        self._answer: Message | None = None
        self._is_over = False

    async def commit(self, content: Sequence[ContentBlock], samples: Sequence[Sample], **said: Any) -> None:
        """Keeps the turn with its whole answer. said: stop_reason, prompt_tokens, completion_tokens, ..."""
        self._answer = answer_of(content)
        await self._end(state="done", answer=self._answer.digest, samples=tuple(samples), **said)

    async def delivered(self) -> None:
        """The last byte went out."""
        self._ledger.over(self.turn)
        if self.turn.state == "done":
            self.turn = msgspec.structs.replace(self.turn, delivered=True)
            await self._ledger.keep(self.turn, self._request, self._answer)

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
        await self._ledger.keep(self.turn, self._request, self._answer)


def _sampling(request: MessagesRequest) -> Sampling:
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        max_tokens=request.max_tokens,
        stop=tuple(request.stop_sequences or ()),
    )
