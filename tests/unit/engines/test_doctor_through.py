"""Rows of tool calls where the engine alone does not do it, and Dragoman does: played by a second answer."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.doctor import Finding
from tests.support.fake_able import Able, able
from tests.support.fake_openai import Answer, Seen, chunk, events, reply, whole
from tests.unit.engines.test_doctor import CHAT, examined, rows

AGAIN = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


async def row_with(name: str, first: Answer, second: Answer, *, streams: bool) -> Finding:
    """A row where the question that it asks is answered by `first` at the first time, then by `second`."""
    answers = [first, second]
    async with able(Able()) as fake:
        usual = fake.routes[CHAT]
        assert callable(usual)

        def chat(seen: Seen) -> Any:
            body = seen.json
            is_result = body["messages"][-1]["content"] == "21 degrees"
            if answers and (bool(body.get("tools")) and body["stream"] if streams else is_result):
                return answers.pop(0)
            return usual(seen)

        fake.routes[CHAT] = chat
        return rows(await examined(fake))[name]


@pytest.mark.parametrize(
    "alone",
    [
        reply(whole(AGAIN)),
        reply(whole('```json\n{"city": "Paris", "unit": "c"}\n```')),
        reply(whole('[{"city": "Paris"}]')),
        reply(whole(" ")),
        reply({"error": {"message": "no"}}, 400),
    ],
    ids=["a call", "its arguments", "a list", "empty", "refused"],
)
async def test_results_that_only_dragoman_gets_words_for(alone: Answer) -> None:
    row = await row_with("tool_results", alone, reply(whole("It is 21 degrees.")), streams=False)
    assert (row.outcome, row.result) == ("yes", "yes, by Dragoman")
    assert row.evidence.endswith('through Dragoman: says "It is 21 degrees."')


@pytest.mark.parametrize(
    ("answer", "outcome", "result"),
    [
        (reply(whole(AGAIN)), "no", "as text"),
        (reply(whole(" ")), "not shown", "not shown"),
        (reply({"error": {"message": "no"}}, 400), "no", "no"),
    ],
    ids=["a call", "empty", "refused"],
)
async def test_a_call_as_text_is_no_answer_to_a_result(answer: Answer, outcome: str, result: str) -> None:
    row = await row_with("tool_results", answer, answer, streams=False)
    assert (row.outcome, row.result) == (outcome, result), row.evidence


async def test_a_template_that_refuses_results_does_not_end_the_question() -> None:
    row = rows(await _refusing_template())["tool_results"]
    assert (row.outcome, row.result) == ("yes", "yes, by Dragoman")
    assert "alone: the template refuses it" in row.evidence


async def _refusing_template() -> Any:
    async with able(Able()) as fake:
        usual = fake.routes["/tokenize"]
        assert callable(usual)

        def tokenize(seen: Seen) -> Any:
            is_result = any(turn["role"] == "tool" for turn in seen.json.get("messages", []))
            return reply({"error": {"message": "no"}}, 400) if is_result else usual(seen)

        fake.routes["/tokenize"] = tokenize
        return await examined(fake)


def call_in(*pieces: str) -> Answer:
    """A stream with a call in so many pieces."""
    head = {"index": 0, "id": "c", "function": {"name": "get_weather", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return events(
        *(chunk({"tool_calls": [part]}) for part in (head, *parts)), chunk({}, "tool_calls"), "[DONE]"
    )


TEXT = events(chunk({"content": AGAIN}), chunk({}, "stop"), "[DONE]")


@pytest.mark.parametrize(
    ("first", "second", "outcome", "result"),
    [
        (TEXT, call_in('{"city": ', '"Paris", "unit": "c"}'), "yes", "yes, by Dragoman"),
        (TEXT, call_in('{"city": "Paris", "unit": "c"}'), "partly", "whole calls"),
        (TEXT, TEXT, "not shown", "not shown"),
        (TEXT, reply({"error": {"message": "no"}}, 400), "not shown", "not shown"),
        (reply({"error": {"message": "no"}}, 400), call_in("{", "}"), "yes", "yes, by Dragoman"),
    ],
    ids=["pieces", "whole", "text", "refused", "refused alone"],
)
async def test_calls_in_a_stream_that_only_dragoman_gets(
    first: Answer, second: Answer, outcome: str, result: str
) -> None:
    row = await row_with("tool_stream", first, second, streams=True)
    assert (row.outcome, row.result) == (outcome, result), row.evidence


# ---- answers that are nested without end -----------------------------------------------------------------


@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize("streams", [True, False])
async def test_json_that_is_too_deep_ends_no_examination(depth: int, streams: bool) -> None:
    deep = b'{"choices":[],"error":%b}' % (b"[" * depth + b"]" * depth)
    async with able(Able()) as fake:
        usual = fake.routes[CHAT]
        assert callable(usual)

        def chat(seen: Seen) -> Any:
            body = seen.json
            if streams and body["stream"]:
                return Answer(content_type="text/event-stream", pieces=[b"data: %b\n\n" % deep])
            if not streams and body.get("tools"):
                return Answer(pieces=[deep])
            return usual(seen)

        fake.routes[CHAT] = chat
        found = rows(await examined(fake))
    assert found["streaming" if streams else "tools"].outcome in {"failed", "not shown"}
    assert found["chat"].outcome == "yes"


async def test_what_can_be_decoded_and_not_gone_through_is_a_failure() -> None:
    deep = b'{"choices":[{"delta":{"more":%b}}]}' % (b"[" * 700 + b"]" * 700)
    async with able(Able()) as fake:
        usual = fake.routes[CHAT]
        assert callable(usual)

        def chat(seen: Seen) -> Any:
            if seen.json["stream"]:
                return Answer(content_type="text/event-stream", pieces=[b"data: %b\n\n" % deep])
            return usual(seen)

        fake.routes[CHAT] = chat
        row = rows(await examined(fake))["streaming"]
    assert (row.outcome, row.evidence) == ("failed", "an answer that is nested too deeply to be read")


@pytest.mark.parametrize("path", ["/v1/models", "/version", "/props", "/api/version"])
async def test_a_description_that_is_too_deep_is_none(path: str) -> None:
    async with able(Able(dialect="generic", renders=False)) as fake:
        fake.routes[path] = Answer(pieces=[b'{"a":%b' % (b"[" * 100_000)])
        report = await examined(fake, model="m")
    assert rows(report)["chat"].outcome == "yes"


@pytest.mark.parametrize(
    ("second", "came"),
    [
        (reply({"error": {"message": "no"}}, 400), "the engine refused the request as invalid"),
        (
            reply(whole("", tool_calls=[{"id": "c", "function": {"name": "pick_color", "arguments": "{}"}}])),
            "pick_color({})",
        ),
    ],
    ids=["refused", "not right"],
)
async def test_what_dragoman_got_is_told_where_it_is_not_right_either(second: Answer, came: str) -> None:
    async with able(Able()) as fake:
        usual = fake.routes[CHAT]
        assert callable(usual)
        answers = [reply(whole("Hello.")), second]

        def chat(seen: Seen) -> Any:
            is_named = isinstance(seen.json.get("tool_choice"), dict)
            return answers.pop(0) if is_named and answers else usual(seen)

        fake.routes[CHAT] = chat
        row = rows(await examined(fake))["forced_named"]
    assert f"through Dragoman: {came}" in row.evidence
