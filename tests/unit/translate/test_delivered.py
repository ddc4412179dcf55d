"""What a client was given, as a request would bring it back."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from dragoman.translate.delivered import delivered_stream, delivered_whole
from dragoman.translate.response import to_message
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.response import BlockOut
from dragoman.wire.openai import ChatChunk, FoldedCompletion
from dragoman.wire.sse import encode_event
from tests.support.answers import blocks, called, finished, options, piece, said, seal, streamed

EVERYTHING = [
    said(reasoning="Let "),
    said(reasoning="me see."),
    said("Two "),
    said("calls."),
    called(piece('{"path": ', "read", "call_0", 0)),
    called(piece('"/a"}', index=0)),
    called(piece("", "now", "call_1", 1)),
    finished("tool_calls"),
]
CUT = [called(piece('{"path": "/a", "limit": 12', "read", "call_0")), finished("length")]


def plain(content: object) -> list[dict[str, Any]]:
    """Blocks as a request's JSON, without what they do not say."""
    return [
        {key: value for key, value in block.items() if value is not None}
        for block in msgspec.json.decode(msgspec.json.encode(content))
    ]


def test_every_block_of_an_answer_can_stand_in_a_request() -> None:
    given, taken = (
        {str(block.__struct_config__.tag) for block in get_args(union)} for union in (BlockOut, ContentBlock)
    )
    assert given <= taken


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@pytest.mark.parametrize("chunks", [EVERYTHING, [finished()]])
def test_a_stream_is_kept_as_the_sdk_reads_it(chunks: list[ChatChunk], display: str) -> None:
    stream = streamed(chunks, display=display)
    read = [{key: value for key, value in block.items() if value is not None} for block in blocks(stream)]
    assert plain(delivered_stream(stream)) == read


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@pytest.mark.parametrize("chunks", [EVERYTHING, CUT, [finished()]])
def test_a_whole_answer_is_kept_as_its_stream(chunks: list[ChatChunk], display: str) -> None:
    whole, _ = to_message(FoldedCompletion(choices=[], chunks=chunks), options(display=display), seal)
    stream = streamed(chunks, display=display)
    assert plain(delivered_whole(whole.content)) == plain(delivered_stream(stream))


def test_of_a_call_that_was_cut_the_complete_members_are_kept() -> None:
    (call,) = plain(delivered_stream(streamed(CUT)))
    assert call["input"] == {"path": "/a"}


def test_what_came_of_tools_on_the_server_and_unknown_deltas_change_nothing() -> None:
    result = '{"type":"web_search_tool_result","tool_use_id":"s","content":[]}'
    stream = b"".join(
        (
            encode_event("content_block_start", b'{"index":0,"content_block":%b}' % result.encode()),
            encode_event("content_block_delta", b'{"index":0,"delta":{"type":"later"}}'),
            encode_event("content_block_stop", b'{"index":0}'),
        )
    )
    assert plain(delivered_stream(stream)) == [msgspec.json.decode(result)]
