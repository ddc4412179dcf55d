"""Answers in rounds with the exact text that their translation gives.

A case is `rounds/NAME.jsonl`: what the engine says in one round per line, as chunks. What the tools give is
made up here from their arguments. Beside it stand the events, the whole message, and the prompts of the later
rounds. `make golden` writes the files anew: read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.engines.whole import fold
from dragoman.translate.answer import StreamOptions
from dragoman.translate.order import ServerCall
from dragoman.translate.rounds import RoundPlan, RoundStream, WholeRounds
from dragoman.translate.server_results import ResultReader
from dragoman.wire.anthropic import response as out
from dragoman.wire.openai import ChatChunk
from tests.golden.test_answer_golden import compare, seal
from tests.support.server_tools import BY_WORDS, WEB_FETCH, WEB_SEARCH
from tests.support.translation import opened_as_foreign, tool, translated, user

HERE = Path(__file__).parent
OPTIONS = StreamOptions(message_id="msg_golden", model="claude-sonnet-5", max_tokens=1024)
DEFERRED = tool("get_weather", description="The weather of a city", defer_loading=True)


def plan() -> RoundPlan:
    """A first prompt that declares every tool, and how its rounds go."""
    kinds = frozenset({"web_search", "web_fetch", "tool_search"})
    declared = [WEB_SEARCH, WEB_FETCH, BY_WORDS, tool("f"), DEFERRED]
    made = translated({"server_tools": kinds}, messages=[user("Is it so?")], tools=declared)
    assert made.tools is not None
    return RoundPlan(
        chat=made.chat,
        names=frozenset(made.server_tools),
        result_text=ResultReader(opened_as_foreign, made.tools.load).own,
        max_rounds=3,
        tools=made.tools,
    )


def result(call: ServerCall) -> out.ServerResultOut:
    """What a tool gives; nothing for an argument that says so."""
    (argument,) = msgspec.json.decode(call.arguments).values()
    if call.name == "web_search":
        hit = out.WebSearchHitOut(f"On {argument}", "https://a.example/", "sealed", "3 days ago")
        error = out.WebSearchErrorOut("max_uses_exceeded")
        return out.WebSearchToolResultOut(call.our_id, error if argument == "fail" else [hit])
    if call.name == "web_fetch":
        document = out.DocumentOut(out.PlainTextOut("All of it."), "A page", out.CitationsOut(enabled=True))
        page = out.WebFetchResultOut(argument, document, "2026-11-20T12:00:00+00:00")
        missing = out.WebFetchErrorOut("url_not_accessible")
        return out.WebFetchToolResultOut(call.our_id, missing if argument == "fail" else page)
    found = out.ToolSearchResultOut([out.ToolReferenceOut("get_weather")])
    broken = out.ToolSearchErrorOut("unavailable")
    return out.ToolSearchToolResultOut(call.our_id, broken if argument == "fail" else found)


def streamed(rounds: list[list[ChatChunk]]) -> str:
    """The events."""
    stream = RoundStream(OPTIONS, seal, plan())
    pieces = [stream.start(7)]
    for chunks in rounds:
        pieces += [stream.feed(chunks), stream.end()]
        if stream.due:
            pieces.append(stream.give([result(call) for call in stream.due])[0])
    assert stream.finished
    return b"".join(pieces).decode()


def whole(rounds: list[list[ChatChunk]]) -> tuple[str, str]:
    """The message, and what the later prompts add, as JSON."""
    message = WholeRounds(OPTIONS, seal, plan())
    prompts: list[Any] = []
    for chunks in rounds:
        due = message.take(fold(chunks))
        chat = message.give([result(call) for call in due]) if due else None
        if chat is not None:
            prompts.append(msgspec.to_builtins(chat.messages[1:]))
    return _indented(message.message()), _indented(prompts)


def _indented(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


@pytest.mark.parametrize("case", sorted((HERE / "rounds").glob("*.jsonl")), ids=lambda path: path.stem)
def test_rounds(case: Path, update_golden: bool) -> None:
    lines = case.read_text(encoding="utf-8").splitlines()
    rounds = [msgspec.json.decode(line, type=list[ChatChunk]) for line in lines]
    message, prompts = whole(rounds)
    compare(streamed(rounds), case.with_suffix(".sse"), update_golden)
    compare(message, case.with_suffix(".message"), update_golden)
    compare(prompts, case.with_suffix(".prompts"), update_golden)
