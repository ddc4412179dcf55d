"""The HTTP protocol of uvicorn, with our answers where the parser itself gives up."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from dragoman.errors import DragomanError, InvalidRequestError, RequestTimeoutError, RequestTooLargeError
from dragoman.server.exchange import ABORT
from dragoman.server.ids import new_id
from dragoman.wire.anthropic.errors import encode_error

# The longest head (request line and headers) that is read, and the longest tail of a chunked body.
MAX_HEAD_BYTES = 64 * 1024
# The colon, the space and the end of its line.
_AROUND_A_HEADER = 4


class Protocol(HttpToolsProtocol):
    """One connection; the head of a request must arrive within `head_seconds`."""

    head_seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected."""
        super().connection_made(transport)
        self._cycles: list[RequestResponseCycle] = []
        self._head_bytes = 0
        self._parsed_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_inside_body = False
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_head_timer()
        super().connection_lost(exc)
        # uvicorn tells only the newest of several pipelined requests
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Bytes came: counted as long as they are not part of a body."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._is_idle():
            # uvicorn stops its timer at any byte, also at one that begins no request
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._parsed_bytes = 0
        self.scope["extensions"] = {ABORT: {"cut": self.transport.abort}}
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._parsed_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what follows a body in their place counts for nothing."""
        if not self._is_inside_body:
            self._parsed_bytes += len(name) + len(value) + _AROUND_A_HEADER
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there; one that is too large ends the connection, also where it came in one read."""
        if self._parsed_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
            raise RequestTooLargeError("the parser reads no further")
        self._stop_head_timer()
        self._head_bytes = 0
        self._is_inside_body = True
        super().on_headers_complete()
        self._cycles = [*self._unanswered(), self.cycle]

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._head_bytes = 0
        self._is_inside_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to bytes that are not HTTP."""
        self._refuse(400, InvalidRequestError("the request is not valid HTTP"))

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection: what the client never read is not kept for it."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _unanswered(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    def _is_idle(self) -> bool:
        """Whether no timer is set and nothing is answered: nothing would ever close the connection."""
        return (
            self._head_timer is None
            and self.timeout_keep_alive_task is None
            and not self.transport.is_closing()
            and not self._unanswered()
        )

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if self._head_bytes:
            self._refuse(408, RequestTimeoutError("the request's head did not arrive in time"))
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(431, RequestTooLargeError(f"the head is larger than {MAX_HEAD_BYTES} bytes"))

    def _refuse(self, status: int, error: DragomanError) -> None:
        """Answers in the API's envelope and hangs up; only hangs up where an answer has begun."""
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        has_begun = cycle and cycle.response_started and (self._is_inside_body or not cycle.response_complete)
        if not has_begun:
            request_id = new_id("req")
            body = encode_error(error, request_id)
            head = (
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"request-id: {request_id}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


def with_timeouts(head_seconds: float) -> type[Protocol]:
    """The protocol with a setting's timeout."""
    attributes: dict[str, Any] = {"head_seconds": head_seconds}
    return type("Protocol", (Protocol,), attributes)
