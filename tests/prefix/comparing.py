"""Whether a prompt extends the one before it, token by token, and why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

import msgspec

from dragoman.wire.openai import ChatMessage, ChatRequest
from tests.prefix.recording import Turns

# A template's own marks are special tokens, one each.
_MARKS = re.compile(r"(<[^<>\s]{1,40}>|\[/?[A-Z_]{2,40}\])")
# Between them, as the tokenizers of Qwen3, Llama 3 and gpt-oss cut a text: runs of letters, up to three
# digits, signs with the line ends behind them, white space. No token reaches over a cut, so equal pieces are
# equal tokens.
_PIECES = re.compile(r"[^\r\n\w]?[^\W\d_]+|\d{1,3}| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Far enough before a prompt's end that pieces fall into step, whatever stood before.
_WINDOW = 400
_NEAR = 60


def extends(last: str, now: str) -> bool:
    """Whether the tokens of `last` are the first tokens of `now`."""
    if not now.startswith(last):
        return False
    start = max(0, len(last) - _WINDOW)
    tail = _pieces(last[start:])
    return _pieces(now[start : len(last) + _WINDOW])[: len(tail)] == tail


def _pieces(text: str) -> list[str]:
    found: list[str] = []
    for number, part in enumerate(_MARKS.split(text)):
        found += [part] if number % 2 else _PIECES.findall(part)
    return found


class Break(msgspec.Struct, frozen=True):
    """A prompt that does not extend the last one: the place where they part, in both."""

    last: str
    now: str
    at: int
    before: ChatRequest
    request: ChatRequest

    @property
    def lost(self) -> str:
        """What is not in the cache any more."""
        return self.last[self.at :]

    def near(self, pattern: str, *, after: int = _NEAR) -> bool:
        """Whether something stands where the last prompt parts from this one."""
        return re.search(pattern, self.last[max(0, self.at - _NEAR) : self.at + after]) is not None

    @property
    def cause(self) -> str:
        """The first of the causes that this break has."""
        return next((cause for cause, (_, has) in CAUSES.items() if has(self)), UNEXPLAINED)


UNEXPLAINED = "unexplained"


def _is_tail(found: Break) -> bool:
    """Only closing marks, or what both prompts end with."""
    return len(_pieces(found.lost)) <= 8 or found.now.endswith(found.lost)


def _is_system(found: Break) -> bool:
    head = found.request.messages[0]
    return head.role == "system" and str(head.content)[:_NEAR] in found.lost[: 2 * _NEAR]


def _is_loaded(found: Break) -> bool:
    """A tool was loaded, and already the first user turn is not where it was."""
    first = next(message for message in found.request.messages if message.role == "user")
    return (
        found.request.loaded_tools != found.before.loaded_tools and str(first.content)[:_NEAR] in found.lost
    )


CAUSES: dict[str, tuple[str, Callable[[Break], bool]]] = {
    "system": ("writes the system prompt into the last user turn, and so moves it", _is_system),
    "tools": (
        "lists the tools before the last user turn, and so moves them when a user turn comes",
        lambda found: found.near(r"TOOLS\]"),
    ),
    "loaded": (
        "prints only tools that can be called, or none, so that one that is loaded joins its list",
        _is_loaded,
    ),
    "joins": (
        "ends some turns without a mark of its own, so that the last token may join with what follows",
        lambda found: not found.lost,
    ),
    "tail": (
        "writes a closing or an instruction behind the last turn that is not there when more turns follow",
        _is_tail,
    ),
    "thinking": (
        "writes thoughts, or the empty mark of none, only behind the last user turn",
        lambda found: found.near(r"think|thought|analysis"),
    ),
}
"""Why templates break a prefix: a name, what such a template does, and how a break shows it."""


class Findings(msgspec.Struct):
    """One conversation in one template: the turns that break, by cause, and the refused ones, by reason."""

    breaks: dict[str, list[int]] = msgspec.field(default_factory=dict)
    refused: dict[str, list[int]] = msgspec.field(default_factory=dict)


class Renderer(Protocol):
    """What makes prompts of neutral requests: None where it refuses, with the reason in `refusal`."""

    refusal: str

    def prompt(self, request: ChatRequest) -> str | None:
        """The prompt without a generation prompt."""
        ...

    def extends(self, last: str, now: str) -> bool:
        """Whether the tokens of `last` are the first tokens of `now`."""
        ...


def findings(renderer: Renderer, turns: Turns) -> Findings:
    """What one conversation's prompts do from turn to turn."""
    found = Findings()
    last: str | None = None
    before = turns[0]
    for number, request in enumerate(turns, 1):
        now = renderer.prompt(request)
        if now is None:
            found.refused.setdefault(renderer.refusal, []).append(number)
        elif last is not None and not renderer.extends(last, now):
            broken = Break(last, now, _parting(last, now), before, request)
            found.breaks.setdefault(broken.cause, []).append(number)
        last, before = now, request
    return found


def _parting(last: str, now: str) -> int:
    return next(
        (at for at, (one, other) in enumerate(zip(last, now, strict=False)) if one != other), len(last)
    )


def not_extended(turns: Turns, *, joins_results: bool = False) -> Iterator[str]:
    """Where the neutral requests themselves do not extend each other: that would be a fault of ours.

    joins_results: words of a user right behind a result stand in the result, which may grow by them.
    """
    for number, (last, now) in enumerate(pairwise(turns), 2):
        grown = joins_results and _last_result_grew(last.messages, now.messages)
        same = len(last.messages) - grown
        if now.messages[:same] != last.messages[:same] or len(now.messages) + grown <= len(last.messages):
            yield f"messages of turn {number}"
        if now.tools != last.tools:
            yield f"tools of turn {number}"


def _last_result_grew(last: list[ChatMessage], now: list[ChatMessage]) -> bool:
    before, after = last[-1], now[: len(last)][-1]
    kept = msgspec.structs.replace(after, content=before.content)
    return before.role == "tool" and kept == before and str(after.content).startswith(f"{before.content}\n")
