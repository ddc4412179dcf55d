"""Chunks folded into a whole answer say what they say as a stream."""

from __future__ import annotations

import pytest

from dragoman.engines.whole import fold
from dragoman.wire.openai import ChatChunk, ChatDelta, ChunkChoice
from tests.support.answers import called, counted, finished, piece, read, said, streamed, whole


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [said(None, reasoning="b"), said("a"), said(""), said("c"), said(refusal="d")],
        [called(piece("", name="get_", call_id="a")), called(piece("", name="weather")), called(piece("{}"))],
        [called(piece('{"a":', name="f", call_id="a")), called(piece("1}", name="f", call_id="a"))],
        [called(piece("{}", name="f", call_id="a")), called(piece('{"x":1}', name="g", call_id="b"))],
        [called(piece("{}", name="f", index=None)), called(piece('{"x":1}', name="f", index=None))],
        [called(piece('{"x":', name="f", index=None)), called(piece("1}", index=None))],
        [called(piece("{", "f", index=3), piece("{", "g")), called(piece("}"), piece("}", index=3))],
        [called(piece("{", "f", "a", None), piece("{}", "g", "b", None)), called(piece("}", "", "a", None))],
        [said("a"), called(piece("{}", "f", "c")), said("b"), said(None, reasoning="d"), said("e")],
        [said(None, reasoning="a"), said("b"), said(None, reasoning="c"), said("d")],
        [called(piece('{"a":', "f", "id1")), called(piece("1}", "f", "id2"))],
        [called(piece('{"a":', "f", index=None)), called(piece("1}", "f", index=None))],
        [called(piece("{}", "f")), called(piece("", None, "late"))],
        [ChatChunk(choices=[ChunkChoice(index=1, delta=ChatDelta(content="other"))]), said("a")],
    ],
    ids=[
        "nothing", "texts", "a name in pieces", "a name repeated", "one number for all", "no numbers",
        "one call without a number", "interleaved", "ids alone",
        "text around a call", "thinking twice", "an id on every piece", "a name repeated without a number",
        "a late id", "another choice",
    ],
)  # fmt: skip
def test_folded_is_what_the_stream_says(chunks: list[ChatChunk]) -> None:
    answer = [*chunks, finished("stop"), counted()]
    assert whole(fold(answer)) == read(streamed(answer))
