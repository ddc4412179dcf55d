"""The sessions that a trainer makes: created, rewarded, finished, frozen, dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from dragoman.errors import ConflictError, NotFoundError
from dragoman.ledger.interface import LedgerStore
from dragoman.ledger.values import Budget, Sampling, Session

SCOPE = "rollout"
_REMEMBERED = 4096


class Rollouts:
    """Sessions of the scope "rollout", whose keys name them. Changes of one session happen one after another.

    now: seconds since 1970.
    """

    def __init__(self, store: LedgerStore, *, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._lock = asyncio.Lock()
        self._live: dict[str, int] = {}
        self._idle: dict[str, asyncio.Event] = {}

    async def create(
        self,
        name: str,
        *,
        metadata: dict[str, msgspec.Raw],
        budget: Budget,
        sampling: Sampling,
    ) -> Session:
        """A new session; `ConflictError` where there is one with this name."""
        made = Session(
            id=name,
            scope=SCOPE,
            created=self._now(),
            metadata=metadata,
            budget=budget,
            sampling=sampling,
        )
        async with self._lock:
            if await self._store.session(SCOPE, name) is not None:
                raise ConflictError(f"id: there is a session {name!r} already")
            await self._keep(made)
        return made

    async def get(self, name: str) -> Session:
        """A session as it is now; `NotFoundError` where there is none."""
        known = self._known.get(name)
        if known is None:
            known = await self._store.session(SCOPE, name)
            if known is None:
                raise NotFoundError(f"there is no session {name[:100]!r}")
            self._remember(known)
        return known

    async def change(self, name: str, changed: Callable[[Session], Session]) -> Session:
        """A session after a change; `SessionFrozenError` for a frozen one."""
        async with self._lock:
            made = changed(await self.get(name))
            await self._keep(made)
            return made

    async def reward(self, name: str, rewards: dict[str, float]) -> Session:
        """Adds rewards by name; the last of a name holds."""
        return await self.change(
            name, lambda one: msgspec.structs.replace(one, rewards={**one.rewards, **rewards})
        )

    async def annotate(self, name: str, note: str, metadata: dict[str, msgspec.Raw]) -> Session:
        """Adds a note, and what else there is to say."""

        def changed(one: Session) -> Session:
            notes = (*one.notes, note) if note else one.notes
            return msgspec.structs.replace(one, notes=notes, metadata={**one.metadata, **metadata})

        return await self.change(name, changed)

    async def finish(self, name: str, seconds: float) -> bool:
        """Lets no request begin any more, and waits for those that run; whether all ended in time."""
        await self.change(
            name, lambda one: msgspec.structs.replace(one, state="finishing") if one.state == "open" else one
        )
        if not self._live.get(name):
            return True
        idle = self._idle.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await idle.wait()
        except TimeoutError:
            return False
        return True

    async def freeze(self, name: str) -> Session:
        """Lets nothing of a session change any more; `ConflictError` while requests run."""
        if self._live.get(name):
            raise ConflictError(f"the session {name!r} has requests that run; finish it first")
        return await self.change(name, lambda one: msgspec.structs.replace(one, state="frozen"))

    async def drop(self, name: str) -> None:
        """Forgets a session; `NotFoundError` where there is none, `ConflictError` while requests run."""
        if self._live.get(name):
            raise ConflictError(f"the session {name!r} has requests that run; finish it first")
        async with self._lock:
            self._known.pop(name, None)
            if not await self._store.drop(SCOPE, name):
                raise NotFoundError(f"there is no session {name[:100]!r}")

    # ---- requests that run -------------------------------------------------------------------------------

    def entered(self, name: str) -> None:
        """A request of the session has begun."""
        self._live[name] = self._live.get(name, 0) + 1

    def left(self, name: str) -> None:
        """A request of the session is over."""
        count = self._live.get(name, 0) - 1
        if count > 0:
            self._live[name] = count
            return
        self._live.pop(name, None)
        idle = self._idle.pop(name, None)
        if idle is not None:
            idle.set()

    async def _keep(self, made: Session) -> None:
        await self._store.put_session(made)
        self._remember(made)

    def _remember(self, session: Session) -> None:
        self._known[session.id] = session
        self._known.move_to_end(session.id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
