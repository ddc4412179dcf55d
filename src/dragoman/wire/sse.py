"""Server-sent events: an incremental decoder that no split of the bytes can confuse, and an encoder."""

from __future__ import annotations

import msgspec

from dragoman.errors import EngineFaultError

BOM = b"\xef\xbb\xbf"
DATA = b"data: "
"""What begins the usual line of an event."""
DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024
# Legal inside JSON, but line ends to clients that split lines as Unicode does.
_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


class SSEEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (None where none was sent) and its data, the lines joined with LF."""

    event: str | None
    data: bytes


class SSEDecoder:
    """Bytes in, events out; fields other than `event` and `data` are ignored.

    Lines end with CR, LF or CRLF, as they like. An event (or line) may hold `max_event_bytes` at most;
    more raises EngineFaultError, after which the decoder must not be used again.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail: list[bytes] = []  # pieces of the line that has not ended yet
        self._tail_size = 0
        self._name: str | None = None
        self._data: list[bytes] = []
        self._data_size = 0
        self._after_cr = False
        self._between_events = False  # nothing waits, not even half a line end
        self._bom: bytes | None = b""  # what came of a possible BOM; None once that is settled

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The events that this read completes."""
        self._between_events = False
        events: list[SSEEvent] = []
        self._read(self._whole_lines(data), events)
        return events

    def feed_data(self, data: bytes) -> list[bytes]:
        """The data of the events that this read completes; their names are not told."""
        return [said for line in self.feed_lines(data) if (said := data_of(line)) is not None]

    def feed_lines(self, data: bytes) -> list[bytes]:
        """The events that this read completes, each as one line: see `data_of`.

        Most are one line of `data: `, and are neither copied nor looked at here.
        """
        # The usual read of an answer as it is sampled: one event of one line.
        end = len(data) - 2
        if (
            self._between_events
            and data.find(b"\n") == end <= self._max
            and data[-1:] == b"\n"
            and data[:6] == DATA
            and b"\r" not in data
        ):
            return [data[:end]]
        whole = self._whole_lines(data)
        is_begun = self._name is not None or bool(self._data)
        lines = None if is_begun or len(whole) > self._max else _single_lines(whole)
        if lines is None:
            events: list[SSEEvent] = []
            self._read(whole, events)
            lines = [DATA + event.data for event in events]
        self._between_events = not (
            self._bom is not None or self._after_cr or self._tail or self._data or self._name is not None
        )
        return lines

    def close(self) -> list[SSEEvent]:
        """What remains when the stream ended: an event whose last line end or blank line is missing.

        The data may be cut anywhere; the one who reads it finds out.
        """
        return self.feed(b"\n\n") if self._tail or self._data else []

    def _whole_lines(self, data: bytes) -> bytes:
        """The lines that end in this read, each with LF; the beginning of the next one waits."""
        if self._bom is not None:
            data = self._skip_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        if not end:
            self._wait(data)
            return b""
        head = data[:end]
        if self._tail:
            head = b"".join((*self._tail, head))
            self._tail = []
            self._tail_size = 0
        self._wait(data[end:])
        return head

    def _skip_bom(self, data: bytes) -> bytes:
        start = (self._bom or b"") + data
        if len(start) < len(BOM) and BOM.startswith(start):
            self._bom = start
            return b""
        self._bom = None
        return start.removeprefix(BOM)

    def _wait(self, piece: bytes) -> None:
        if piece:
            self._tail_size += len(piece)
            self._check(self._tail_size)
            self._tail.append(piece)

    def _check(self, size: int) -> None:
        if size > self._max:
            raise EngineFaultError(f"The engine sent an event of more than {self._max} bytes.")

    def _read(self, lines: bytes, events: list[SSEEvent]) -> None:
        for line in lines.splitlines():
            if line:
                self._field(line)
                continue
            if self._data:
                events.append(SSEEvent(self._name, b"\n".join(self._data)))
                self._data = []
                self._data_size = 0
            self._name = None

    def _field(self, line: bytes) -> None:
        self._check(len(line))
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data_size += len(line)
            self._check(self._data_size)
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace") or None


def data_of(line: bytes) -> bytes | None:
    """The data of an event of one line; None where that line holds none, and so there is no event."""
    if line[:6] == DATA:
        return line[6:]
    field, _, value = line.partition(b":")
    return value.removeprefix(b" ") if field == b"data" else None


def _single_lines(whole: bytes) -> list[bytes] | None:
    """The lines of events of one line each; None where one has more."""
    parts = whole.split(b"\n")
    lines = parts[:-1:2]
    return lines if len(lines) * 2 + 1 == len(parts) and not any(parts[1::2]) and all(lines) else None


def one_line(data: bytes) -> bytes:
    """JSON without line ends (as encoders write it), so that Unicode sees none in it either."""
    if not data.isascii():
        for char, escape in _LINE_ENDS:
            data = data.replace(char, escape)
    return data


def encode_event(name: str, data: bytes) -> bytes:
    """One event's bytes; data with line ends becomes several `data` lines."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
