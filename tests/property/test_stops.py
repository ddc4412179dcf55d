"""Stop strings: any split of the text gives what a search of the whole text gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dragoman.engines.stops import StopFilter, StopMatcher
from dragoman.engines.whole import fold
from dragoman.wire.openai import ChatChunk, ChatDelta, ChunkChoice

LETTERS = st.text("ab\n", max_size=12)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4)


def searched(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The plain answer: the first place where a stop string is complete, the longest there."""
    for end in range(1, len(text) + 1):
        matches = [stop for stop in stops if text[:end].endswith(stop)]
        if matches:
            longest = max(matches, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(st.lists(LETTERS, max_size=6), STOPS)
def test_any_split_gives_the_same(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = "".join([matcher.feed(piece) for piece in pieces])
    shown += matcher.flush()
    assert (shown, matcher.matched) == searched("".join(pieces), stops)


@given(st.lists(LETTERS, max_size=6), STOPS)
def test_only_what_may_become_a_match_is_held_back(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = "".join([matcher.feed(piece) for piece in pieces])
    held = matcher.flush()
    assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)
    assert "".join(pieces).startswith(shown + held)


@given(st.lists(LETTERS, max_size=6), STOPS, st.integers(1, 3))
def test_a_stream_of_chunks_ends_where_the_text_ends(pieces: list[str], stops: list[str], size: int) -> None:
    chunks = [ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content=piece))]) for piece in pieces]
    chunks.append(ChatChunk(choices=[ChunkChoice(delta=ChatDelta(), finish_reason="length")]))
    stop_filter = StopFilter(stops)
    batches = [stop_filter.feed(chunks[at : at + size]) for at in range(0, len(chunks), size)]
    choice = fold(chunk for batch in batches for chunk in batch).choices[0]
    text, matched = searched("".join(pieces), stops)
    assert (choice.message.content or "", choice.matched_stop) == (text, matched)
    assert choice.finish_reason == ("stop" if matched else "length")
    assert stop_filter.ended == (matched is not None)
