"""Answers that count as calls in flight at their engines until they end."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from dragoman.engines.base import ChatStream, RelayedAnswer, TokenStream
from dragoman.errors import DragomanError
from dragoman.routing.fleet import Fleet
from dragoman.routing.member import Member
from dragoman.routing.router import Router
from dragoman.wire.openai import ChatChunk
from dragoman.wire.tokens import TokenChunk

Item_co = TypeVar("Item_co", covariant=True)
Item = TypeVar("Item")


class _Stream(Protocol[Item_co]):
    engine: str

    async def __anext__(self) -> Item_co: ...

    async def aclose(self) -> None: ...


class _Counted(Generic[Item]):
    """What the three kinds have in common: the count, and what their end says about the engine.

    `weight_version` is that of the engine when a read ends. Where it changed since the read before had ended,
    and nobody was reading, the item may hold older tokens too: then it is "".
    """

    weight_version = ""

    def __init__(self, stream: _Stream[Item], member: Member, router: Router, fleet: Fleet) -> None:
        self.engine = stream.engine
        self._stream = stream
        self._member: Member | None = member
        self._router = router
        self._fleet = fleet
        self._seen = member.weight_version
        member.enter()

    async def __anext__(self) -> Item:
        """The next item."""
        member = self._member
        is_mixed = member is not None and member.weight_version != self._seen
        try:
            item = await self._stream.__anext__()
        except StopAsyncIteration:
            if self._member is not None:
                self._member.breaker.succeeded()
            self._end()
            raise
        except DragomanError as error:
            if self._member is not None:
                self._fleet.failed(self._member, error)
            self._end()
            raise
        except BaseException:  # cancelled: the call is in flight no more
            self._end()
            raise
        if member is not None:
            self._seen = member.weight_version
            self.weight_version = "" if is_mixed else self._seen
        return item

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        member, self._member = self._member, None
        if member is not None:
            self._router.left(member)


class CountedStream(_Counted[list[ChatChunk]], ChatStream):
    """A chat answer."""


class CountedTokens(_Counted[TokenChunk], TokenStream):
    """An answer in token ids."""


class CountedRelay(_Counted[bytes], RelayedAnswer):
    """An answer in an engine's own words."""

    def __init__(self, answer: RelayedAnswer, member: Member, router: Router, fleet: Fleet) -> None:
        super().__init__(answer, member, router, fleet)
        self.status = answer.status
        self.content_type = answer.content_type
