"""Generated agent loops: conversations as clients send them, every text in them marked."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.support.blocks_with_marks import WORDS, contents
from tests.support.translation import assistant, call, image, result, system, thinking, user


class Loop(msgspec.Struct):
    """A conversation that ends before an assistant turn, and its texts' marks by where they must arrive.

    ends: the lengths of the beginnings that were requests of their own.
    """

    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)
    ends: list[int] = msgspec.field(default_factory=list)
    asked: list[str] = msgspec.field(default_factory=list)
    answered: list[str] = msgspec.field(default_factory=list)
    thought: list[str] = msgspec.field(default_factory=list)
    arguments: list[str] = msgspec.field(default_factory=list)
    results: list[str] = msgspec.field(default_factory=list)
    images: list[str] = msgspec.field(default_factory=list)
    calls: list[str] = msgspec.field(default_factory=list)
    marks: int = 0

    def mark(self, words: str, where: list[str]) -> str:
        """A text with a mark in it that no other text has."""
        self.marks += 1
        # No sign in it is escaped anywhere.
        own = f"#{self.marks}#"
        where.append(own)
        return words + own

    def image(self, where: list[str]) -> dict[str, Any]:
        """An image that no other one equals."""
        self.marks += 1
        data = base64.b64encode(b"image %d" % self.marks).decode("ascii")
        where.append(data)
        return image(data)


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    """A loop of one to four rounds, some with parallel calls, images, errors and system turns."""
    loop = Loop()
    for _ in range(draw(st.integers(1, 4))):
        _stretch(draw, loop)
        loop.ends.append(len(loop.messages))
        _answer(draw, loop)
    _stretch(draw, loop)
    loop.ends.append(len(loop.messages))
    return loop


def _stretch(draw: st.DrawFn, loop: Loop) -> None:
    """What stands between two assistant turns: at least one user turn."""
    own: list[str] = []
    asked: list[str] = []
    blocks = _results(draw, loop)
    loop.calls = []
    kinds = ["text", "image", "document", "search", "history"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=not blocks, max_size=3)):
        blocks += contents(draw, loop, kind, asked, own)
    loop.images.extend(own)
    if draw(st.booleans()):
        loop.messages.append(system(loop.mark(draw(WORDS), loop.asked)))
    loop.asked.extend(asked)
    cut = draw(st.integers(0, len(blocks)))
    parts = [part for part in (blocks[:cut], blocks[cut:]) if part]
    loop.messages.extend(user(*part) for part in parts)
    if draw(st.booleans()):
        loop.messages.append(system(loop.mark(draw(WORDS), loop.asked)))


def _results(draw: st.DrawFn, loop: Loop) -> list[dict[str, Any]]:
    """The results of the open calls, sent in any order."""
    blocks = []
    kinds = st.lists(st.sampled_from(["text", "image", "document", "search", "browser"]), max_size=3)
    for call_id in loop.calls:
        content: list[dict[str, Any]] = []
        for kind in draw(kinds):
            content += contents(draw, loop, kind, loop.results, loop.images)
        blocks.append(result(call_id, content, is_error=draw(st.booleans())))
    return draw(st.permutations(blocks))


def _answer(draw: st.DrawFn, loop: Loop) -> None:
    """An assistant turn of any blocks."""
    blocks = []
    kinds = ["text", "thinking", "call", "history", "search"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
        words = draw(WORDS)
        if kind in {"text", "history", "search"}:
            blocks += contents(draw, loop, kind, loop.answered, [])
        elif kind == "thinking":
            blocks.append(thinking(loop.mark(words, loop.thought), visible=draw(st.booleans())))
        else:
            loop.calls.append(f"toolu_{loop.marks}")
            arguments = {"z": loop.mark(words, loop.arguments), "a": 1}
            blocks.append(call(loop.calls[-1], arguments=arguments))
    loop.messages.append(assistant(*blocks))
