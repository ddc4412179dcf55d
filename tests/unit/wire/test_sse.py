"""The event decoder and encoder, case by case."""

from __future__ import annotations

import pytest

from dragoman.errors import EngineFaultError
from dragoman.wire.sse import SSEDecoder, SSEEvent, encode_event

BOM = b"\xef\xbb\xbf"


def decode(*reads: bytes) -> list[tuple[str | None, bytes]]:
    """The events of some reads and of the end."""
    decoder = SSEDecoder()
    events = [event for read in reads for event in decoder.feed(read)] + decoder.close()
    return [(event.event, event.data) for event in events]


def data_of(*reads: bytes) -> list[bytes]:
    """The payloads of some reads, by the path of a token."""
    decoder = SSEDecoder()
    return [data for read in reads for data in decoder.feed_data(read)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: {}\n\n", [(None, b"{}")]),
        (b"data:{}\n\n", [(None, b"{}")]),
        (b"data:  two\n\n", [(None, b" two")]),
        (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", b"1"), (None, b"2")]),
        (b"event:a\r\ndata: 1\r\n\r\n", [("a", b"1")]),
        (b"event: a\rdata: 1\r\r", [("a", b"1")]),
        (b"data: 1\r\n\rdata: 2\n\r\n", [(None, b"1"), (None, b"2")]),
        (b"data: 1\ndata: 2\ndata\n\n", [(None, b"1\n2\n")]),
        (b"data\n\n", [(None, b"")]),
        (b": a comment\n\n: another\ndata: 1\n\n", [(None, b"1")]),
        (b"id: 7\nretry: 100\nnonsense: x\nmore\ndata: 1\n\n", [(None, b"1")]),
        (b"event: a\n\ndata: 1\n\n", [(None, b"1")]),
        (b"event: a\nevent: b\ndata: 1\n\n", [("b", b"1")]),
        (b"event: a\nevent:\ndata: 1\n\n", [(None, b"1")]),
        (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")]),
        (BOM + b"data: 1\n\n", [(None, b"1")]),
        (BOM + BOM + b"data: 1\n\ndata: 2\n\n", [(None, b"2")]),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [(None, b"1"), (None, b"2")]),
        (b"", []),
    ],
)
def test_a_stream_gives_its_events_in_any_split(
    stream: bytes, events: list[tuple[str | None, bytes]]
) -> None:
    assert decode(stream) == events
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == events
    assert (
        decode(*(part for cut in [len(stream) // 2] for part in (stream[:cut], b"", stream[cut:]))) == events
    )
    assert data_of(stream) == [data for _, data in events]
    assert data_of(*(stream[i : i + 1] for i in range(len(stream)))) == [data for _, data in events]


@pytest.mark.parametrize(
    ("reads", "data"),
    [
        ([b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"], [b"1", b"2", b"3"]),
        ([b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"], [b"1", b"2", b"3"]),
        ([b"data: 1\n\n", b"data: 2\n\nevent: a\ndata: 3\n\n"], [b"1", b"2", b"3"]),
        ([b"data: 1\n\n", b"data: 2\rdata: 3\n\n"], [b"1", b"2\n3"]),
        ([b"data: 1\r\n\r", b"\ndata: 2\n\n"], [b"1", b"2"]),
        ([b"data: 1\n\n", b"event: a\n", b"data: 2\n\n"], [b"1", b"2"]),
        ([b"data: 1\n\n", b"data: 2\n", b"data: 3\n\n"], [b"1", b"2\n3"]),
        ([b"data: 1\n\n", b"da", b"ta: 2\n\n", b"data: 3\n\n"], [b"1", b"2", b"3"]),
        ([b"data: 1\n\n", b"data:2\n\n", b": ping\n\n", b"\n\n", b"\n", b"x", b"\n"], [b"1", b"2"]),
    ],
)
def test_reads_that_begin_and_end_with_events_are_no_exception(reads: list[bytes], data: list[bytes]) -> None:
    assert data_of(*reads) == data
    assert [found for _, found in decode(*reads)] == data


def test_crlf_split_between_reads_is_one_line_end() -> None:
    assert decode(b"data: 1\r", b"\ndata: 2\r", b"\n\r", b"\n") == [(None, b"1\n2")]


def test_an_event_leaves_with_the_read_that_completes_it() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: 1\r\n\r") == [SSEEvent(None, b"1")]
    assert decoder.feed(b"\ndata: 2") == []
    assert decoder.feed_data(b"\n\ndata: 3\n") == [b"2"]
    assert decoder.feed_data(b"\ndata: 4\n\n: end\n") == [b"3", b"4"]


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"data: 1\n\n", []),
        (b"data: 1\n", [SSEEvent(None, b"1")]),
        (b"data: 1", [SSEEvent(None, b"1")]),
        (b"data: 1\r", [SSEEvent(None, b"1")]),
        (b"event: a\ndata: 1\ndata: 2", [SSEEvent("a", b"1\n2")]),
        (b"event: a\n", []),
        (b"event: a", []),
        (b"dat", []),
        (BOM[:2], []),
    ],
)
def test_close_gives_what_was_not_ended(stream: bytes, rest: list[SSEEvent]) -> None:
    decoder = SSEDecoder()
    decoder.feed_data(stream)
    assert decoder.close() == rest


@pytest.mark.parametrize(
    "reads",
    [
        [b"data: 123456789\n\n"],
        [b"data: 12345", b"6789"],
        [b": 12345678901234"],
        [b": 12345678901234\n"],
        [b"data: 1\ndata: 2\n", b"data: 3\n"],
        [b"data: 1\n\n", b"data: 123456789\n\n"],
    ],
)
def test_an_event_without_end_is_refused(reads: list[bytes]) -> None:
    for feed in (SSEDecoder(14).feed, SSEDecoder(14).feed_data):
        with pytest.raises(EngineFaultError, match="more than 14 bytes"):
            [feed(read) for read in reads]


def test_many_events_in_one_read_may_pass_the_bound_of_one() -> None:
    assert SSEDecoder(14).feed_data(b"data: 12345678\n\n" * 3) == [b"12345678"] * 3
    assert len(SSEDecoder(14).feed(b"data: 12345678\n\n" * 3)) == 3


@pytest.mark.parametrize(
    ("name", "data", "encoded"),
    [
        ("ping", b'{"type":"ping"}', b'event: ping\ndata: {"type":"ping"}\n\n'),
        ("a", b"1\n2\r\n3\r4", b"event: a\ndata: 1\ndata: 2\ndata: 3\ndata: 4\n\n"),
        ("a", b"", b"event: a\ndata: \n\n"),
    ],
)
def test_encode(name: str, data: bytes, encoded: bytes) -> None:
    assert encode_event(name, data) == encoded
    assert decode(encoded) == [(name, data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))]
