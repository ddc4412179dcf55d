"""Stop strings, matched here for engines that do not say which of them ended an answer."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.wire.openai import ChatChunk, ChatDelta, ChunkChoice


class StopMatcher:
    """Finds the first of some strings in text that comes in pieces; any split gives the same result.

    The match that is complete first wins; of those that end at the same place, the longest. Only what may
    still become a match is held back.
    """

    __slots__ = ("_held", "_longest", "_stops", "matched")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    def feed(self, piece: str) -> str:
        """The text that is certain to come before any match; after a match, nothing."""
        if self.matched is not None:
            return ""
        text = self._held + piece
        ends = ((at + len(stop), -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0)
        first = min(ends, default=None)
        if first is not None:
            self.matched, self._held = first[2], ""
            return text[: first[0] + first[1]]
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back; the text that follows cannot join it to a match."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class StopFilter:
    """Ends a stream of chunks at the first stop string in its text; thinking and calls are not searched."""

    __slots__ = ("_matcher", "ended")

    def __init__(self, stops: Sequence[str]) -> None:
        self._matcher = StopMatcher(stops)
        self.ended = False

    def feed(self, batch: Sequence[ChatChunk]) -> list[ChatChunk]:
        """The batch without what comes after a match; `ended` is True from the batch that holds the match."""
        out: list[ChatChunk] = []
        for chunk in batch:
            out += self._chunk(chunk)
        return out

    def close(self) -> list[ChatChunk]:
        """The text still held back when the engine's stream ends without a finish reason."""
        held = self._matcher.flush()
        return [_text(held)] if held else []

    def _chunk(self, chunk: ChatChunk) -> list[ChatChunk]:
        if not chunk.choices:
            return [chunk]
        if self.ended:
            # a late usage still counts
            return [ChatChunk(usage=chunk.usage)] if chunk.usage is not None else []
        choice = chunk.choices[0]
        before = self._flush_before(choice)
        delta = choice.delta
        if delta.content:
            delta.content = self._matcher.feed(delta.content)
            if self._matcher.matched is not None:
                self.ended = True
                delta.tool_calls = None
                choice.finish_reason, choice.matched_stop = "stop", self._matcher.matched
                return [*before, chunk]
            if delta.tool_calls or choice.finish_reason is not None:
                delta.content += self._matcher.flush()
        return [*before, chunk]

    def _flush_before(self, choice: ChunkChoice) -> list[ChatChunk]:
        delta = choice.delta
        follows = delta.reasoning or (
            not delta.content and (delta.tool_calls or choice.finish_reason is not None)
        )
        held = self._matcher.flush() if follows else ""
        return [_text(held)] if held else []


def _text(text: str) -> ChatChunk:
    return ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content=text))])
