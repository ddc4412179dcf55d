"""A request's turn in the ledger: its engine calls are captured, its answer is committed before it leaves."""

from __future__ import annotations

import msgspec

from dragoman.engines.base import Answering
from dragoman.errors import DragomanError
from dragoman.ledger.recorder import Ledger, Record
from dragoman.ledger.values import Sample
from dragoman.observe.logs import log_error
from dragoman.routing.client import InferenceEngineClient
from dragoman.service.capture import Before, Capture
from dragoman.service.stream import Keeper, Write
from dragoman.translate.delivered import delivered_stream, delivered_whole
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.request import MessagesRequest
from dragoman.wire.anthropic.response import MessageOut, Usage
from dragoman.wire.identity import Caller

_LAST_EVENT = b'data: {"type":"message_stop"}\n\n'
_ERROR_EVENT = b"event: error\n"


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Ending(msgspec.Struct):
    """The event before the last one."""

    delta: _Delta
    usage: Usage


class Recording:
    """Records one request; made by `begun`. It is over after `answered`, `failed`, or the end of its stream.

    `client` stands in the place of the engines; without a ledger it is the engines, and nothing is recorded.
    `is_begun` says that the stream is there, `request` is what is asked for as its session samples it.
    """

    def __init__(self, client: InferenceEngineClient, record: Record | None) -> None:
        self.client: Answering = client
        self.request = None if record is None else record.request
        self._record = record
        self._capture: Capture | None = None
        self._error = ""
        # before, what ends it is told to `failed`
        self.is_begun = False
        if record is not None:
            earlier = record.earlier
            before = None if earlier is None else Before(earlier.turn, earlier.sample, earlier.is_edited)
            self._capture = self.client = Capture(client, record.turn.sampling, before)

    @classmethod
    async def begun(
        cls, client: InferenceEngineClient, ledger: Ledger | None, request: MessagesRequest, caller: Caller
    ) -> Recording:
        """The recording of a request; one that is off where there is no ledger."""
        return cls(client, None if ledger is None else await ledger.begin(request, caller))

    async def answered(self, message: MessageOut) -> None:
        """The whole answer is there; it is committed when this returns."""
        if self._record is not None:
            content = delivered_whole(message.content)
            await self._commit(self._record, content, message.stop_reason or "", message.usage)

    async def delivered(self) -> None:
        """The answer went out."""
        if self._record is not None:
            await self._record.delivered()

    async def failed(self, error: DragomanError) -> None:
        """There is no answer."""
        if self._record is not None:
            await self._record.failed(f"{error.type}: {error.message}", await self._samples())

    async def released(self) -> None:
        """Nobody waits any more; an answer that is not whole ended with an error, or was cut."""
        if self._record is None or not self.is_begun:
            return
        samples = await self._samples() if self._record.turn.state == "open" else ()
        if self._error:
            await self._record.failed(self._error, samples)
        else:
            await self._record.cut(samples)

    def recorded(self, write: Write) -> Write:
        """A `write` that commits the turn before the stream's end leaves, and notes that it left."""
        record = self._record
        if record is None:
            return write
        pieces: list[bytes] = []

        async def recording(data: bytes) -> None:
            pieces.append(data)
            if data.endswith(_LAST_EVENT):
                stream = b"".join(pieces)
                ending = _ending(stream)
                stop = ending.delta.stop_reason or ""
                await self._commit(record, delivered_stream(stream), stop, ending.usage)
                await write(data)
                await record.delivered()
                return
            if _ERROR_EVENT in data:
                self._error = _told(data)
            await write(data)

        return recording

    async def _commit(
        self, record: Record, content: list[ContentBlock], stop_reason: str, usage: Usage
    ) -> None:
        read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        await record.commit(
            content,
            await self._samples(),
            stop_reason=stop_reason,
            prompt_tokens=read,
            completion_tokens=usage.output_tokens,
        )

    async def _samples(self) -> tuple[Sample, ...]:
        if self._capture is None:
            return ()
        try:
            return await self._capture.closed()
        except DragomanError as error:
            # the texts of a drift report are missing, the tokens are not
            log_error(self._record.turn.id if self._record is not None else "", error)
            return tuple(sample.closed() for sample in self._capture.samples)


class Keepers:
    """Several keepers of one stream: what is delivered is seen by each, the first one last."""

    def __init__(self, first: Keeper, recording: Recording) -> None:
        self._first = first
        self._recording = recording

    def recorded(self, message_id: str, write: Write) -> Write:
        """The `write` that all see."""
        return self._first.recorded(message_id, self._recording.recorded(write))

    async def release(self) -> None:
        """The stream is over."""
        await self._first.release()
        await self._recording.released()


class _Said(msgspec.Struct):
    type: str
    message: str


class _ErrorEvent(msgspec.Struct):
    error: _Said


def _told(data: bytes) -> str:
    """The error that a stream's last event tells."""
    line = data[data.index(_ERROR_EVENT) :].split(b"\n", 2)[1]
    said = msgspec.json.decode(line[len(b"data: ") :], type=_ErrorEvent).error
    return f"{said.type}: {said.message}"


def _ending(stream: bytes) -> _Ending:
    at = stream.rindex(b"event: message_delta\ndata: ")
    line = stream[at:].split(b"\n", 2)[1]
    return msgspec.json.decode(line[len(b"data: ") :], type=_Ending)
