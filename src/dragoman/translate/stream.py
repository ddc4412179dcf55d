"""One answer as a stream: the engine's chunks in, the client's events out."""

from __future__ import annotations

from dragoman.errors import DragomanError
from dragoman.translate.answer import Answer, Seal, StreamOptions, not_unicode
from dragoman.translate.events import EventWriter
from dragoman.wire.anthropic.response import StopReason, Usage
from dragoman.wire.openai import ChatChunk

__all__ = ["MessageStream", "Seal", "StreamOptions"]


class MessageStream:
    """The events of one message, as bytes.

    Call `start`, then `feed` for each read from the engine (`ping` in between, at will), then `end` or
    `fail`. An answer that cannot be continued ends in one `error` event; then `finished` is True and
    `fault` says why. `seal` signs thinking: from its text, and whether the client sees it.
    """

    def __init__(self, options: StreamOptions, seal: Seal) -> None:
        self.finished = False
        self.fault: DragomanError | None = None
        self._writer = EventWriter(options, seal)
        self._answer = Answer(options, self._writer)
        self._input_tokens = options.input_estimate
        self.message_id = options.message_id

    @property
    def started_content(self) -> bool:
        """Whether a content block was opened: from then on no other engine can take over."""
        return self._answer.order.begun

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The complete calls: our id, and the arguments as the model wrote them."""
        return self._answer.calls

    @property
    def undelivered_calls(self) -> int:
        """How many calls were left out because the client asked for one at most, or for another tool's."""
        return self._answer.undelivered

    @property
    def usage(self) -> Usage | None:
        """The counts, once the answer ended."""
        return self._answer.usage

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the answer ended, once it did."""
        return None if self._answer.stop is None else self._answer.stop.reason

    def start(self, input_tokens: int) -> bytes:
        """The `message_start`; `input_tokens` is the engine's early count or an estimate."""
        self._input_tokens = max(1, input_tokens)
        self._writer.start(self._input_tokens)
        return self._writer.flush()

    def ping(self) -> bytes:
        """A `ping`; nothing before the start and after the end."""
        self._writer.ping()
        return self._writer.flush()

    def feed(self, batch: list[ChatChunk]) -> bytes:
        """The events of one read."""
        if self.finished:
            return b""
        take = self._answer.chunk
        try:
            for chunk in batch:
                take(chunk)
        except (DragomanError, UnicodeEncodeError) as error:
            return self._fault(error)
        return self._writer.flush()

    def end(self) -> bytes:
        """The engine is done: the last events, or an `error` where the answer is not complete."""
        if self.finished:
            return b""
        try:
            stop, usage = self._answer.end(self._input_tokens)
            self._writer.end(stop, usage)
        except (DragomanError, UnicodeEncodeError) as error:
            return self._fault(error)
        self.finished = True
        return self._writer.flush()

    def fail(self, error: DragomanError) -> bytes:
        """The answer ends here, with one `error` event; nothing is closed, nothing may follow."""
        if self.finished:
            return b""
        self.finished = True
        self._writer.error(error)
        return self._writer.flush()

    def _fault(self, error: DragomanError | UnicodeEncodeError) -> bytes:
        self.fault = not_unicode(error) if isinstance(error, UnicodeEncodeError) else error
        return self.fail(self.fault)
