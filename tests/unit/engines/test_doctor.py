"""The doctor's probes, against servers that do the thing, refuse it, or take it without obeying."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.doctor import Finding, Report, examine
from dragoman.engines.doctor.examine import PROBES
from dragoman.engines.doctor.hints import HINTS
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import EngineConfigurationError, SettingsError
from dragoman.settings import EngineEntry, Timeouts
from tests.support.fake_able import IGNORING, NOTHING, Able, able
from tests.support.fake_openai import Answer, Cut, FakeOpenAI, Hang, Seen, chunk, events, reply, whole

CHAT = "/v1/chat/completions"


async def examined(fake: FakeOpenAI, *, model: str = "", seconds: float = 10.0, **entry: Any) -> Report:
    """The report on a fake server."""
    timeouts = Timeouts(first_byte=seconds, between_bytes=seconds)
    engine = RemoteInferenceEngine(EngineEntry(url=fake.url, name="fake", **entry), timeouts)
    try:
        return await examine(engine, model, seconds=seconds)
    finally:
        await engine.aclose()


async def report_on(can: Able) -> Report:
    """The report on a server with these abilities."""
    async with able(can) as fake:
        return await examined(fake)


def rows(report: Report) -> dict[str, Finding]:
    """The findings by name."""
    return {row.name: row for row in report.findings}


def outcomes(report: Report) -> dict[str, str]:
    """The outcomes by name."""
    return {row.name: row.outcome for row in report.findings}


async def test_a_server_that_can_do_everything() -> None:
    report = await report_on(Able())
    others = {name: outcome for name, outcome in outcomes(report).items() if outcome != "yes"}
    # the context is small, and the count comes at the end
    assert others == {"context": "partly", "early_usage": "no"}
    assert (report.works, report.dialect, report.model) == (True, "vllm", "m")
    assert [gap.name for gap in report.gaps] == ["context"]
    assert report.differences == ()


async def test_a_server_that_can_do_nothing() -> None:
    report = await report_on(NOTHING)
    assert not report.works
    found = outcomes(report)
    assert {name for name, outcome in found.items() if outcome == "yes"} == {"models", "chat", "through"}
    refused = ["tools", "forced_any", "forced_named", "tool_results", "structured", "stops", "prefill"]
    refused += ["images", "logprobs", "token_ids", "system", "system_turns", "usage", "counting"]
    assert {found[name] for name in refused} == {"no"}
    assert found["streaming"] == "ignored"
    asked = ["no_calls", "parallel", "one_call", "tool_stream", "stop_named", "stream_usage", "switch"]
    assert {found[name] for name in asked} == {"not asked"}
    differing = {difference.capability for difference in report.differences}
    systems = {"system_at_head", "system_in_place"}
    assert differing == {"tools", "forced_tools", "structured_output", "images"} | systems


async def test_a_server_that_takes_everything_and_obeys_nothing() -> None:
    report = await report_on(IGNORING)
    found = outcomes(report)
    ignored = ["tools", "forced_any", "forced_named", "structured", "stops", "prefill", "images"]
    ignored += ["logprobs", "overflow"]
    assert {name: found[name] for name in ignored} == dict.fromkeys(ignored, "ignored")
    assert report.works
    assert found["no_calls"] == found["tool_stream"] == "not shown"
    assert rows(report)["arguments"].evidence == "weighed: white space in them is no token"


@pytest.mark.parametrize(
    ("can", "name", "outcome", "result"),
    [
        (Able(streams="refuse"), "streaming", "no", "no"),
        (Able(stream_usage=False), "stream_usage", "no", "no"),
        (Able(usage=False), "usage", "no", "no"),
        (Able(usage=False, stream_usage=False), "counting", "partly", "unchecked"),
        (Able(usage=False, renders=False, dialect="generic"), "earlier", "not shown", "not shown"),
        (Able(usage=False, renders=False, dialect="generic"), "arguments", "not shown", "not shown"),
        (Able(usage=False), "images", "not shown", "not shown"),
        (Able(cached=False), "cached", "no", "not told"),
        (Able(calls=False), "tools", "not shown", "not shown"),
        (Able(calls=False, renders=False), "tools", "not shown", "not shown"),
        (Able(calls=False, forced="ignore"), "parallel", "not shown", "not shown"),
        (Able(calls=False), "tool_stream", "yes", "yes"),
        (Able(tools="text"), "tools", "no", "as text"),
        (Able(tools="text"), "no_calls", "partly", "as text"),
        (Able(tools="endless"), "forced_any", "partly", "endless"),
        (Able(tools="mute"), "forced_any", "partly", "endless"),
        (Able(tools="loose"), "forced_any", "partly", "if strict"),
        (Able(tools="broken"), "forced_any", "partly", "broken calls"),
        (Able(tools="whole"), "tool_stream", "partly", "whole calls"),
        (Able(tools="always"), "no_calls", "ignored", "ignored"),
        (Able(tools="no results"), "tool_results", "ignored", "ignored"),
        (Able(forced="other"), "forced_named", "ignored", "ignored"),
        (Able(forced="refuse"), "forced_any", "no", "no"),
        (Able(forced="refuse"), "tools", "yes", "yes"),
        (Able(one_call="ignore"), "one_call", "ignored", "ignored"),
        (Able(one_call="refuse"), "one_call", "no", "no"),
        (Able(reasoning="never"), "reasoning", "not shown", "not shown"),
        (Able(reasoning="text"), "reasoning", "no", "in the text"),
        (Able(reasoning="asked"), "reasoning", "yes", "yes"),
        (Able(switch="refuse"), "switch", "no", "no"),
        (Able(switch="ignore"), "switch", "ignored", "ignored"),
        (Able(switch="off only"), "switch", "partly", "off only"),
        (Able(dialect="generic", renders=False), "switch", "yes", "on and off"),
        (Able(structured="endless"), "structured", "partly", "endless"),
        (Able(stops="unnamed"), "stop_named", "no", "no"),
        (Able(prefill="empty"), "prefill", "not shown", "not shown"),
        (Able(prefill="other"), "prefill", "not shown", "not shown"),
        (Able(token_ids="sampled"), "token_ids", "partly", "sampled only"),
        (Able(token_ids="named"), "token_ids", "partly", "sampled only"),
        (Able(system="moved"), "system_turns", "no", "moved"),
        (Able(system="dropped"), "system_turns", "ignored", "dropped"),
        (Able(system="refuse"), "system_turns", "no", "refused"),
        (Able(dialect="generic", renders=False), "system_turns", "yes", "taken"),
        (Able(system="refuse"), "system", "yes", "yes"),
        (Able(system="never"), "system", "no", "refused"),
        (Able(system="never"), "system_turns", "no", "refused"),
        (Able(system="never"), "counting", "yes", "exact"),
        (Able(system="never"), "cached", "yes", "told"),
        (Able(system="unread"), "system", "ignored", "dropped"),
        (Able(dialect="generic", renders=False), "system", "yes", "taken"),
        (Able(earlier="in loops"), "earlier", "partly", "in tool loops"),
        (Able(earlier="dropped"), "earlier", "no", "dropped"),
        (Able(earlier="dropped", reasoning="never"), "earlier", "not asked", "not asked"),
        (Able(earlier="in loops", renders=False), "earlier", "partly", "in tool loops"),
        (Able(arguments="anew"), "arguments", "no", "written anew"),
        (Able(renders=False), "arguments", "yes", "as given"),
        (Able(renders=False), "earlier", "yes", "kept"),
        (Able(renders=False), "counting", "no", "no"),
        (Able(counts_off=1), "counting", "partly", "differs"),
        (Able(overflow="unread"), "overflow", "partly", "refused, unread"),
        (Able(overflow="fail"), "overflow", "failed", "failed"),
    ],
    ids=str,
)
async def test_a_row(can: Able, name: str, outcome: str, result: str) -> None:
    row = rows(await report_on(can))[name]
    assert (row.outcome, row.result) == (outcome, result), row.evidence


async def test_the_template_argument_that_keeps_thinking_is_named() -> None:
    row = rows(await report_on(Able(earlier="dropped")))["earlier"]
    assert "kept with chat_template_kwargs.clear_thinking=false" in row.evidence


async def test_a_dialect_may_help_where_the_engine_alone_does_not() -> None:
    async with able(Able(dialect="llamacpp", renders=False, forced="other")) as fake:
        fake.routes["/props"] = reply({"default_generation_settings": {"n_ctx": 600}})
        row = rows(await examined(fake))["forced_named"]
    assert (row.outcome, row.result) == ("yes", "yes, by Dragoman")
    assert "asked for pick_color, called get_weather" in row.evidence


async def test_what_detection_does_not_know_is_a_difference() -> None:
    async with able(Able(dialect="generic", renders=False)) as fake:
        fake.routes["/api/show"] = reply({"capabilities": ["tools", "thinking"], "model_info": {}})
        report = await examined(fake, dialect="ollama")
    assert rows(report)["switch"].evidence == "by reasoning_effort"
    told = {difference.capability: difference for difference in report.differences}
    assert (told["forced_tools"].detected, told["forced_tools"].shown) == (False, True)
    assert told["forced_tools"].meaning == "Dragoman does not use it"
    assert outcomes(report)["context"] == "no"
    assert outcomes(report)["overflow"] == "not asked"


async def test_a_context_that_is_large_is_not_filled() -> None:
    async with able(Able()) as fake:
        fake.routes["/v1/models"] = reply(
            {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 500_000}]}
        )
        report = await examined(fake)
    assert rows(report)["context"].result == "500,000 tokens"
    assert rows(report)["overflow"].evidence == "the context is too long to fill"
    assert report.gaps == ()


# ---- servers that fail -------------------------------------------------------------------------------------


async def test_a_server_that_never_answers_ends_every_wait() -> None:
    async with FakeOpenAI({CHAT: Answer(silent=True, pieces=[Hang()])}) as fake:
        report = await examined(fake, seconds=0.2)
    found = outcomes(report)
    assert found["chat"] == "failed"
    assert rows(report)["chat"].evidence == "no answer within 0.2 s"
    assert {found[name] for name in found.keys() - {"models", "context", "chat"}} == {"not asked"}
    assert not report.works


async def test_a_server_that_dies_midway_is_not_asked_to_the_end() -> None:
    answers = [reply(whole("one two three")), reply(whole("one two three"))]
    fake = FakeOpenAI({CHAT: Answer(silent=True, pieces=[Hang()])})
    async with fake:
        fake.chat(*answers)
        report = await examined(fake, seconds=0.2)
    evidences = [row.evidence for row in report.findings if row.outcome != "yes"]
    assert evidences.count("the server had stopped answering") > 20


async def test_a_probe_that_fails_does_not_end_the_others() -> None:
    def chat(seen: Seen) -> Answer:
        body = seen.json
        if body["stream"]:
            return Answer(content_type="text/event-stream", pieces=[b"data: {\n\n", Cut()])
        if body.get("tools"):
            return Answer(status=500, content_type="text/plain", pieces=[b"a trace"])
        return reply(whole("one two three four"))

    async with FakeOpenAI({CHAT: chat}) as fake:
        report = await examined(fake)
    found = outcomes(report)
    assert found["streaming"] == "failed"
    assert found["tools"] == found["forced_any"] == "failed"
    assert rows(report)["tools"].evidence == "status 500"
    assert found["through"] == "yes"
    assert found["structured"] == "ignored"


@pytest.mark.parametrize(
    ("stream", "outcome", "result"),
    [
        (events(chunk({"content": "one two three"}), chunk({}, "stop")), "partly", "in one piece"),
        (events(chunk({"content": "one"}), chunk({"content": " two"})), "partly", "without end"),
        (events(chunk({}, "stop"), "[DONE]"), "failed", "failed"),
        (events({"error": {"message": "broken", "code": 500}}), "failed", "failed"),
        (events({"choices": [{"delta": {"tool_calls": 5}}]}), "failed", "failed"),
        (reply({"error": {"message": "no streams here", "code": 400}}, 400), "no", "no"),
    ],
)
async def test_streams_of_many_kinds(stream: Answer, outcome: str, result: str) -> None:
    def chat(seen: Seen) -> Answer:
        return stream if seen.json["stream"] else reply(whole("one two"))

    async with FakeOpenAI({CHAT: chat}) as fake:
        row = rows(await examined(fake))["streaming"]
    assert (row.outcome, row.result) == (outcome, result), row.evidence


@pytest.mark.parametrize(
    ("answer", "outcome", "evidence"),
    [
        (reply({"choices": []}), "failed", "status 200"),
        (reply([]), "failed", "status 200: []"),
        (Answer(content_type="text/html", pieces=[b"<html>"]), "failed", "status 200"),
        (reply(whole("")), "failed", "status 200 and an empty answer"),
        (reply(whole("", reasoning="Hm.")), "partly", "thought past 1024 tokens and gave no answer"),
        (reply({"error": "model not found"}, 404), "no", "status 404: model not found"),
        (reply({"error": "key"}, 401), "failed", "status 401: key"),
    ],
)
async def test_answers_of_many_kinds(answer: Answer, outcome: str, evidence: str) -> None:
    async with FakeOpenAI({CHAT: answer}) as fake:
        report = await examined(fake)
    row = rows(report)["chat"]
    assert (row.outcome, row.evidence) == (outcome, evidence)
    assert not report.works


async def test_a_short_answer_leaves_nothing_to_stop_or_to_go_on_with() -> None:
    async with FakeOpenAI({CHAT: reply(whole("Hi"))}) as fake:
        found = outcomes(await examined(fake))
    assert (found["stops"], found["stop_named"], found["prefill"]) == ("not shown", "not asked", "not shown")


async def test_a_server_without_a_list_of_models_needs_one_named() -> None:
    async with able(Able()) as fake:
        fake.routes["/v1/models"] = reply({"detail": "Not Found"}, 404)
        with pytest.raises(SettingsError, match="--model names one"):
            await examined(fake, dialect="generic")
        report = await examined(fake, model="m", dialect="generic")
        assert rows(report)["models"].outcome == "failed"
        fake.routes["/v1/models"] = reply({"data": []})
        with pytest.raises(SettingsError, match="is empty; --model names one"):
            await examined(fake, dialect="generic")


async def test_a_model_that_is_not_in_the_list() -> None:
    async with able(Able()) as fake:
        row = rows(await examined(fake, model="lora", dialect="generic"))["models"]
    assert (row.outcome, row.result) == ("partly", "others")


async def test_a_server_that_does_not_describe_itself() -> None:
    async with FakeOpenAI({CHAT: reply(whole("one two three four"))}) as fake:
        report = await examined(fake, dialect="llamacpp")
    assert outcomes(report)["chat"] == "yes"
    assert outcomes(report)["through"] == "failed"
    assert report.differences == ()


async def test_a_refused_key_is_said_before_anything_is_tried() -> None:
    async with able(Able()) as fake:
        fake.routes["/v1/models"] = reply({"error": "key"}, 401)
        with pytest.raises(EngineConfigurationError):
            await examined(fake)


def test_hints_are_about_rows_and_dialects_that_there_are() -> None:
    names = {probe.name for probe in PROBES}
    dialects = {"", "llamacpp", "vllm", "sglang", "ollama", "transformers", "generic"}
    assert HINTS.keys() <= names
    assert all("" in hint.remedies and hint.remedies.keys() <= dialects for hint in HINTS.values())
