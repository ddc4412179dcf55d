"""Any split of a stream's bytes gives the same events, on both paths of the decoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dragoman.wire.sse import SSEDecoder, SSEEvent, encode_event

LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
VALUES = st.one_of(
    st.binary(max_size=8).map(lambda value: value.replace(b"\n", b"").replace(b"\r", b"")),
    st.sampled_from([b"", b" ", b": ", "\u00e4\U0001f600".encode(), b"\xef\xbb\xbf"]),
)
FIELDS = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: ", b"id: ", b"retry: ", b":", b"", b"\xef\xbb\xbf"]
)
LINES = st.one_of(st.just(b""), st.tuples(FIELDS, VALUES).map(b"".join))
USUAL = st.sampled_from([b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"])
PIECES = st.one_of(USUAL, st.tuples(LINES, LINE_ENDS).map(b"".join))
STREAMS = st.lists(PIECES, max_size=20).map(b"".join)


@st.composite
def splits(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in pieces, empty ones too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def events_of(reads: list[bytes]) -> list[SSEEvent]:
    """All events of some reads, with what the end gives."""
    decoder = SSEDecoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.close()


@given(STREAMS.flatmap(lambda stream: st.tuples(st.just(stream), splits(stream))))
def test_any_split_gives_the_same_events(case: tuple[bytes, list[bytes]]) -> None:
    stream, reads = case
    whole = events_of([stream])
    decoder = SSEDecoder()
    data = [data for read in reads for data in decoder.feed_data(read)]
    assert events_of(reads) == whole
    assert data + [event.data for event in decoder.close()] == [event.data for event in whole]


@given(st.lists(PIECES, max_size=20))
def test_reads_of_whole_events_and_lines_give_the_same_events(reads: list[bytes]) -> None:
    decoder = SSEDecoder()
    data = [data for read in reads for data in decoder.feed_data(read)]
    whole = events_of([b"".join(reads)])
    assert data + [event.data for event in decoder.close()] == [event.data for event in whole]


@given(st.binary(max_size=60).flatmap(lambda stream: st.tuples(st.just(stream), splits(stream))))
def test_any_split_of_any_bytes_gives_the_same_events(case: tuple[bytes, list[bytes]]) -> None:
    stream, reads = case
    assert events_of(reads) == events_of([stream])


@given(st.lists(st.tuples(st.text("abc_", min_size=1), VALUES)))
def test_what_was_encoded_is_decoded(events: list[tuple[str, bytes]]) -> None:
    stream = b"".join(encode_event(name, data) for name, data in events)
    assert events_of([stream]) == [SSEEvent(name, data) for name, data in events]
