"""Message threads: a request that continues an answer becomes the whole conversation, and is kept with it."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

import msgspec
from msgspec.structs import replace

from dragoman.errors import (
    ApiError,
    DragomanError,
    InvalidRequestError,
    NotFoundError,
    ThreadFingerprintMismatchError,
    ThreadNotFoundError,
)
from dragoman.observe.logs import log_error
from dragoman.routing.session import fingerprint, uncached
from dragoman.service.stream import Write
from dragoman.store.threads import Held, ThreadStore
from dragoman.translate.delivered import delivered_stream, delivered_whole
from dragoman.translate.system import block_texts, system_text
from dragoman.wire.anthropic.blocks import ContentBlock, TextBlock
from dragoman.wire.anthropic.context import ThreadContinue
from dragoman.wire.anthropic.request import Message, MessagesRequest, OutputConfig, Tool
from dragoman.wire.anthropic.response import MessageOut
from dragoman.wire.identity import Caller, SessionKey

_LAST_EVENT = b'data: {"type":"message_stop"}\n\n'
_ERROR_EVENT = b"event: error\n"
_PATH = re.compile(r"messages\.(\d+)")


class _Kept(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One turn as it is kept: the new messages with the answer; the first also what holds for the thread."""

    messages: list[Message]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    output_config: OutputConfig | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


class Threads:
    """Begins the turn of each request. Without a thread a turn keeps nothing and costs nothing.

    `now` is the time in seconds, the same for all processes that share the store.
    """

    def __init__(self, store: ThreadStore, *, seconds: float, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.now = now
        self._seconds = seconds
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep: asyncio.Task[None] | None = None

    async def begin(self, request: MessagesRequest, caller: Caller) -> Turn:
        """The turn of a request; raises why its thread cannot be continued."""
        if not isinstance(request.thread, ThreadContinue):
            return Turn(self, request, caller, new=request if request.thread is not None else None)
        previous, holder = request.thread.previous_message_id, secrets.token_hex(8)
        try:
            held = await self.store.hold(caller.scope, previous, holder, self.now())
            return self._continued(request, caller, held)
        except (InvalidRequestError, NotFoundError):
            await self.release(holder, caller)
            raise
        except ApiError as error:
            # the client has the conversation: better that it sends it than that it fails
            log_error(caller.request_id, error)
            await self.release(holder, caller)
            raise ThreadNotFoundError(previous) from error
        except asyncio.CancelledError:
            # the store goes on with what it was asked; this comes after it
            await self.release(holder, caller)
            raise

    def _continued(self, request: MessagesRequest, caller: Caller, held: Held) -> Turn:
        whole = whole_of(request, held.turns)
        if caller.session is not None and not caller.session.durable:
            # what the first request had, so that the conversation stays where its cache is
            caller = replace(caller, session=SessionKey(fingerprint(whole), "fingerprint", durable=False))
        size = sum(map(len, held.turns))
        earlier = len(whole.messages) - len(request.messages)
        return Turn(self, whole, caller, new=request, held=held, earlier=earlier, size=size)

    async def release(self, holder: str, caller: Caller) -> None:
        """Lets go of what a holder may hold; where that fails, it has its time."""
        await trying(self.store.release(holder, self.now()), caller)

    def expect_expiry(self) -> None:
        """Makes sure that what was just kept is removed after its time, though nobody may come any more."""
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._seconds + 1, self._begin_sweep)

    def _begin_sweep(self) -> None:
        self._sweeper = None
        self._sweep = asyncio.create_task(self._remove_expired())

    async def _remove_expired(self) -> None:
        try:
            if await self.store.sweep(self.now()):
                self.expect_expiry()
        except DragomanError as error:
            log_error("", error)

    async def aclose(self) -> None:
        """Stops looking for what expired."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.wait({self._sweep})


class Turn:
    """One turn of a conversation: `request` is the whole of it, `caller` who asks.

    `size` is the bytes of what the client did not send again. What fails inside `async with` lets go of the
    thread, and is told in the places that the client knows. `new` is None where nothing is kept.
    """

    def __init__(
        self,
        threads: Threads,
        request: MessagesRequest,
        caller: Caller,
        *,
        new: MessagesRequest | None,
        held: Held | None = None,
        earlier: int = 0,
        size: int = 0,
    ) -> None:
        self.request = request
        self.caller = caller
        self.size = size
        self._threads = threads
        # as bytes, before anything that a message points at is put in its place
        self._new = None if new is None else _encode(_kept(new, is_first=held is None))
        self._held = held
        self._earlier = earlier

    async def __aenter__(self) -> Turn:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.release()
        if self._earlier and isinstance(error, InvalidRequestError):
            error.message = _PATH.sub(self._as_sent, error.message, count=1)

    def _as_sent(self, found: re.Match[str]) -> str:
        number = int(found[1]) - self._earlier
        return f"messages.{number}" if number >= 0 else f"thread: {found[0]}"

    async def answered(self, message: MessageOut) -> None:
        """Keeps the turn with its whole answer."""
        if self._new is not None:
            await self._keep(message.id, delivered_whole(message.content))

    def recorded(self, message_id: str, write: Write) -> Write:
        """A `write` that keeps the turn before the stream's end leaves; the same where nothing is kept."""
        if self._new is None:
            return write
        pieces: list[bytes] = []

        async def record(data: bytes) -> None:
            pieces.append(data)
            if data.endswith(_LAST_EVENT):
                await self._keep(message_id, delivered_stream(b"".join(pieces)))
            elif _ERROR_EVENT in data:
                await self.release()
            await write(data)

        return record

    async def release(self) -> None:
        """Lets go of the thread without an answer. Safe at any moment, more than once."""
        held, self._held, self._new = self._held, None, None
        if held is not None:
            await self._threads.release(held.holder, self.caller)

    async def _keep(self, message_id: str, content: list[ContentBlock]) -> None:
        """Keeps the turn under the answer's id; the answer goes out also where that fails."""
        assert self._new is not None
        kept, held, scope = _decode(self._new), self._held, self.caller.scope
        if content:
            kept.messages.append(Message(role="assistant", content=content))
        turn, now, store = _encode(kept), self._threads.now(), self._threads.store
        self._new = self._held = None
        if held is None:
            await trying(store.create(scope, message_id, turn, now), self.caller)
        else:
            await trying(store.extend(held, scope, message_id, turn, now), self.caller)
        self._threads.expect_expiry()


async def trying(work: Awaitable[object], caller: Caller) -> None:
    """Waits for work of the store; its failure is for the log, since the answer does not depend on it."""
    try:
        await work
    except DragomanError as error:
        log_error(caller.request_id, error)


def whole_of(request: MessagesRequest, turns: Sequence[bytes]) -> MessagesRequest:
    """The whole conversation of a request that continues a thread with these turns."""
    try:
        kept = [_decode(turn) for turn in turns]
    except msgspec.DecodeError as error:
        # another version of this server kept it
        raise ApiError(
            "a thread cannot be read", log_detail="its turns are of another form", log_content=str(error)
        ) from error
    first = kept[0]
    _check(request, first)
    return replace(
        request,
        messages=[message for turn in kept for message in turn.messages] + request.messages,
        system=first.system,
        tools=first.tools,
        thread=None,
    )


def _kept(new: MessagesRequest, *, is_first: bool) -> _Kept:
    if not is_first:
        return _Kept(messages=new.messages)
    return _Kept(messages=new.messages, system=new.system, tools=new.tools, output_config=new.output_config)


def _check(request: MessagesRequest, first: _Kept) -> None:
    """Refuses what a thread keeps where it is sent again and differs; its format always is."""
    differing = []
    system = system_text(block_texts(request.system))
    if system and system != system_text(block_texts(first.system)):
        differing.append("system")
    if request.tools is not None and _tools(request.tools) != _tools(first.tools):
        differing.append("tools")
    if _config(request.output_config) != _config(first.output_config):
        differing.append("output_config")
    if differing:
        raise ThreadFingerprintMismatchError(differing)


def _tools(tools: list[Tool] | None) -> bytes:
    return _encode([uncached(tool) for tool in tools or ()])


def _config(config: OutputConfig | None) -> bytes:
    return _encode(config or OutputConfig())
