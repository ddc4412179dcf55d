"""What a translation needs to know besides the request, and what it gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

from dragoman.translate.conformity import Expected
from dragoman.translate.server_tools import ChangingTools, Kind, ServerTool
from dragoman.translate.signature import OpenedThinking
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest

Display = Literal["summarized", "omitted", "off"]

# The version that no longer takes sampling parameters, documents in assistant turns or citations of users;
# versions are dates, so they compare as text, and none at all is older than any.
NEWER_VERSION = "2026-10-21"


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The served model, what it can do, and the settings that decide.

    model: the name to write for the engine. open_thinking: from signature and text to what the block is.
    spelling: from one of our call ids to the arguments as the model wrote them, None where not known.
    interleaved_thinking: the caller asked for that beta, under which a thinking budget may pass max_tokens.
    api_version: the version of the API that the caller named, "" where it named none. strict: refuse what
    that version no longer takes.
    server_tools: the kinds of tools that run on this server.
    """

    model: str
    capabilities: EngineCapabilities
    open_thinking: Callable[[str, str], OpenedThinking]
    spelling: Callable[[str], str | None]
    foreign_thinking: Literal["accept", "drop", "refuse"] = "accept"
    text_only_images: Literal["refuse", "note"] = "refuse"
    image_urls: Literal["engine", "fetch", "refuse"] = "engine"
    interleaved_thinking: bool = False
    api_version: str = ""
    strict: bool = False
    server_tools: frozenset[Kind] = frozenset()
    request_id: str = ""
    placement_key: str | None = None


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """One neutral request, and what the answer's translation has to know of the request.

    display: how the client wants thinking shown ("off": it did not ask for any). max_tokens: as asked (0:
    warm the cache only; also 0 for a count). dropped_thinking: blocks of thinking that could not go to the
    engine. notes: what else was dropped. expected: what the answer must hold, None where nothing is demanded.
    server_tools: those that the request declares and that run here, by name. tools: all of them, as they
    change while the answer is given.
    """

    chat: ChatRequest
    display: Display
    max_tokens: int
    dropped_thinking: int
    notes: tuple[str, ...]
    expected: Expected | None = None
    server_tools: dict[str, ServerTool] = {}
    tools: ChangingTools | None = None


class Findings:
    """What was dropped or replaced while one request was translated, counted by kind."""

    def __init__(self) -> None:
        self.dropped_thinking = 0
        self._counts: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Counts one more of a kind."""
        self._counts[what] += 1

    def notes(self) -> tuple[str, ...]:
        """One line per kind, in order of first appearance."""
        return tuple(f"{what}: {count}" for what, count in self._counts.items())


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a block stands in the request; `block` is None for a turn whose content is a string.

    It becomes text where something is refused, so it travels as it is.
    """

    message: int
    block: int | None

    def __str__(self) -> str:
        """The path that a refusal begins with."""
        own = f"messages.{self.message}.content"
        return own if self.block is None else f"{own}.{self.block}"
