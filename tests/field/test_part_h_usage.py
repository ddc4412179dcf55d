"""Field cases, part H: usage and the start of the message."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from dragoman.translate.ids import call_id_in
from dragoman.translate.usage import usage_estimate
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatUsage, PromptTokensDetails
from tests.server.http import REQUEST, STREAMED, ask, data_of, events_of
from tests.support.answers import completion, counted, events, finished, read, said, streamed, whole
from tests.support.serving import running_server

USAGE_KEYS = {
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "server_tool_use",
    "service_tier",
    "speed",
    "inference_geo",
}
CACHED = ChatUsage(
    prompt_tokens=220, completion_tokens=5, prompt_tokens_details=PromptTokensDetails(cached_tokens=128)
)


def event_of(raw: bytes, kind: str) -> dict[str, Any]:
    """The one event of a type."""
    found = [event for event in events(raw) if event["type"] == kind]
    assert len(found) == 1
    return found[0]


def test_h113_usage_is_inside_the_message_of_message_start() -> None:
    start = event_of(streamed([said("a"), finished()]), "message_start")
    assert set(start) == {"type", "message"}
    assert set(start["message"]["usage"]) == USAGE_KEYS
    assert start["message"]["usage"]["input_tokens"] > 0


def test_h114_the_message_of_message_start_has_type_and_role() -> None:
    message = event_of(streamed([said("a"), finished()]), "message_start")["message"]
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
    assert [message[key] for key in ("stop_reason", "stop_sequence", "stop_details")] == [None] * 3


@pytest.mark.parametrize("usage", [None, ChatUsage(prompt_tokens=0, completion_tokens=0)])
def test_h115_message_start_never_says_zero_input_tokens(usage: ChatUsage | None) -> None:
    with running_server(ScriptedInferenceEngine([answer("Hi.", usage=usage)])) as url:
        first = data_of(events_of(ask(url, STREAMED).content)[0])
    assert first["type"] == "message_start"
    assert first["message"]["usage"]["input_tokens"] > 0


def test_h115_an_estimate_is_never_zero() -> None:
    assert [usage_estimate(size) for size in (0, 1, 400)] == [1, 1, 100]


def test_h116_input_and_cached_tokens_are_disjoint() -> None:
    raw = streamed([said("a"), finished(), ChatChunk(usage=CACHED)])
    ways = [
        event_of(raw, "message_delta")["usage"],
        read(raw)["usage"],
        whole(completion("a", usage=CACHED))["usage"],
    ]
    for usage in ways:
        assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (92, 128)
        assert usage["cache_creation_input_tokens"] == 0


def test_h116_cached_tokens_are_there_even_when_the_engine_counts_none() -> None:
    assert whole(completion("a", usage=ChatUsage(10, 5)))["usage"]["cache_read_input_tokens"] == 0
    assert (
        event_of(streamed([said("a"), finished()]), "message_delta")["usage"]["cache_read_input_tokens"] == 0
    )


def test_h116_more_cached_tokens_than_there_are_make_no_negative_count() -> None:
    details = PromptTokensDetails(cached_tokens=300)
    usage = whole(completion("a", usage=ChatUsage(220, 5, details)))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (0, 220)


def test_h117_an_engine_without_usage_still_gives_numbers() -> None:
    raw = streamed([said("some words"), finished()])
    for usage in (read(raw)["usage"], whole(completion("some words"))["usage"]):
        assert usage["input_tokens"] > 0
        assert usage["output_tokens"] > 0
    assert isinstance(event_of(raw, "message_delta")["usage"]["output_tokens"], int)


def test_h117_the_counts_at_the_end_replace_those_of_the_start() -> None:
    raw = streamed([said("a"), finished(), counted(prompt=41, completion=9)])
    assert event_of(raw, "message_delta")["usage"]["input_tokens"] == 41
    assert (read(raw)["usage"]["input_tokens"], read(raw)["usage"]["output_tokens"]) == (41, 9)


@pytest.mark.parametrize("stream", [False, True])
def test_h118_ids_have_the_prefixes_of_the_api(stream: bool) -> None:
    engine = ScriptedInferenceEngine([answer(calls=[("look", '{"a": 1}')])])
    tool = {"name": "look", "input_schema": {"type": "object"}}
    with running_server(engine) as url:
        response = ask(url, {**REQUEST, "tools": [tool], "stream": stream})
    if stream:
        sent = [data_of(event) for event in events_of(response.content)]
        message = sent[0]["message"]
        (block,) = [event["content_block"] for event in sent if event["type"] == "content_block_start"]
    else:
        message = response.json()
        (block,) = message["content"]
    assert re.fullmatch(r"msg_[A-Za-z0-9]+", message["id"])
    assert re.fullmatch(r"toolu_[A-Za-z0-9_-]+", block["id"])
    assert call_id_in(block["id"]) == "call_0"


def test_h118_ids_of_two_answers_differ_though_the_engine_repeats_its_own() -> None:
    engine = ScriptedInferenceEngine([answer(calls=[("look", "{}")])] * 2)
    body = {**REQUEST, "tools": [{"name": "look", "input_schema": {"type": "object"}}]}
    with running_server(engine) as url:
        one, other = (ask(url, body).json() for _ in range(2))
    assert one["id"] != other["id"]
    assert one["content"][0]["id"] != other["content"][0]["id"]


def test_h119_times_come_from_one_clock_of_our_own() -> None:
    # No time stamp of an engine is read at all, so no clock of its own can disagree with ours.
    assert {"created", "timings"} & {*ChatChunk.__struct_fields__, *ChatCompletion.__struct_fields__} == set()
    with running_server(ScriptedInferenceEngine([answer("Hi.")])) as url:
        ask(url, STREAMED)
        metrics = httpx.get(f"{url}/metrics", timeout=20).text
    times = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name.endswith("_seconds_sum")
    }
    assert "dragoman_first_token_seconds_sum" in times
    assert [name for name, value in times.items() if value < 0] == []
