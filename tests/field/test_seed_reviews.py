"""The review of the first Anthropic endpoint of an engine: its findings C, I and M, and its gaps in tests."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from dragoman import errors
from dragoman.engines.scripted import (
    Delay,
    Fail,
    Script,
    answer,
    call_chunk,
    finish_chunk,
    text_chunk,
)
from dragoman.errors import DragomanError, EngineFaultError
from dragoman.wire.openai import ChatMessage, ChatUsage, PromptTokensDetails
from tests.server.conftest import Serve, Served
from tests.server.http import REQUEST, STREAMED, ask, data_of, error_of, events_of, names_of
from tests.support import house_rules
from tests.support.translation import PNG, assistant, call, image, result, text, tool, user

SOURCE = Path(__file__).parents[2] / "src" / "dragoman"
KEY = "a key for the tests"


def received(served: Served) -> list[ChatMessage]:
    """The messages of the last request that the engine got."""
    return served.engine.calls[-1].request.messages


def sent(served: Served, *messages: Any, **fields: Any) -> list[ChatMessage]:
    """What the engine gets of a conversation that is answered well."""
    reply = ask(served.url, REQUEST | {"messages": list(messages)} | fields)
    assert reply.status_code == 200, reply.text
    return received(served)


def deltas(reply: httpx.Response) -> list[dict[str, Any]]:
    """The data of a stream's events."""
    assert reply.status_code == 200, reply.text
    return [data_of(event) for event in events_of(reply.content)]


# --- critical ---


def test_seed_c1_base64_images_become_data_uris(serve: Serve) -> None:
    content = msgspec.to_builtins(sent(serve(), user(text("look"), image())))[0]["content"]
    assert content[1] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def test_seed_c2_a_tool_result_is_matched_by_its_tool_use_id(serve: Serve) -> None:
    served = serve()
    turns = [user("go"), assistant(call("toolu_a")), user(result("toolu_a", "done"))]
    assert sent(served, *turns, tools=[tool()])[-1].tool_call_id == "toolu_a"
    wrong = {"type": "tool_result", "id": "toolu_a", "content": "done"}
    refused = ask(served.url, REQUEST | {"messages": [*turns[:2], user(wrong)]})
    assert (refused.status_code, error_of(refused)["type"]) == (400, "invalid_request_error")
    assert "tool_use_id" in error_of(refused)["message"]


def test_seed_c3_a_list_in_a_tool_result_is_its_texts(serve: Serve) -> None:
    turns = [user("go"), assistant(call()), user(result(content=[text("one"), text("two")]))]
    assert sent(serve(), *turns, tools=[tool()])[-1].content == "one\ntwo"


def test_seed_c4_message_ids_are_ours_streamed_and_not(serve: Serve) -> None:
    served = serve()
    assert ask(served.url).json()["id"].startswith("msg_")
    assert deltas(ask(served.url, STREAMED))[0]["message"]["id"].startswith("msg_")


def test_seed_c5_thinking_goes_in_and_out(serve: Serve) -> None:
    served = serve([answer("So.", thinking="I think."), answer("Well.")])
    asked = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}
    content = ask(served.url, REQUEST | asked).json()["content"]
    assert [block["type"] for block in content] == ["thinking", "text"]
    redacted = {"type": "redacted_thinking", "data": "x"}
    turns = [user("go"), {"role": "assistant", "content": [*content, redacted]}, user("on")]
    assert sent(served, *turns, **asked)[1].reasoning == "I think."
    assert served.engine.calls[0].request.reasoning.budget_tokens == 1024


# --- important ---


def test_seed_i1_a_stop_sequence_is_reported_with_its_string(serve: Serve) -> None:
    served = serve([answer("one two STOP three")] * 2)
    body = {"stop_sequences": ["never", "STOP"]}
    whole = ask(served.url, REQUEST | body).json()
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "STOP")
    delta = deltas(ask(served.url, STREAMED | body))[-2]["delta"]
    assert (delta["stop_reason"], delta["stop_sequence"]) == ("stop_sequence", "STOP")


def test_seed_i2_an_error_in_a_stream_is_an_event(serve: Serve) -> None:
    served = serve([Script(steps=[text_chunk("a"), Fail(EngineFaultError("The engine failed."))])])
    events = deltas(ask(served.url, STREAMED))
    assert events[-1]["type"] == "error"
    assert events[-1]["error"] == {"type": "api_error", "message": "The engine failed."}


def test_seed_i3_an_answer_without_content_is_one_empty_text_block(serve: Serve) -> None:
    served = serve([Script(steps=[finish_chunk()])] * 2)
    assert [block["text"] for block in ask(served.url).json()["content"]] == [""]
    names = names_of(ask(served.url, STREAMED).content)
    assert names.count("content_block_start") == names.count("content_block_stop") == 1


def test_seed_i4_tool_choice_none_keeps_the_tools_and_forbids_calls(serve: Serve) -> None:
    served = serve()
    sent(served, user("go"), tools=[tool()], tool_choice={"type": "none"})
    request = served.engine.calls[-1].request
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, len(request.tools)) == ("none", 1)


@pytest.mark.parametrize("given", [REQUEST, STREAMED])
def test_seed_i4_a_call_under_tool_choice_none_never_reaches_the_client(
    serve: Serve, given: dict[str, Any]
) -> None:
    served = serve([answer("hi", calls=[("f", "{}")])])
    reply = ask(served.url, given | {"tools": [tool()], "tool_choice": {"type": "none"}})
    assert '"type":"tool_use"' not in reply.text
    assert "tool_choice" in reply.text
    assert '"api_error"' in reply.text


def test_seed_i5_disable_parallel_tool_use_is_honoured(serve: Serve) -> None:
    served = serve([answer(calls=[("f", "{}"), ("f", "{}")])])
    body = {"tools": [tool()], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    content = ask(served.url, REQUEST | body).json()["content"]
    assert [block["type"] for block in content] == ["tool_use"]
    assert served.engine.calls[0].request.parallel_tool_calls is False


def test_seed_i6_system_blocks_are_separated(serve: Serve) -> None:
    assert sent(serve(), user("go"), system=[text("Hello"), text("World")])[0].content == "Hello\nWorld"


# Public, in spite of its name.
PUBLIC = {"os._exit"}


def private_reaches(source: str) -> list[str]:
    """Uses of a private name of something else than the object or class itself."""
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        and ast.unparse(node) not in PUBLIC
    ]


def test_seed_i7_no_layer_calls_private_methods_of_another() -> None:
    assert private_reaches("a.b._c()\nself._d()\n") == ["1: a.b._c"]
    own = [path for layer in ("translate", "service", "server") for path in (SOURCE / layer).rglob("*.py")]
    reaches = {path.name: private_reaches(path.read_text(encoding="utf-8")) for path in own}
    assert len(own) > 10
    assert {name: found for name, found in reaches.items() if found} == {}


@pytest.mark.parametrize("body", [REQUEST, STREAMED])
def test_seed_i8_no_answer_shows_internals(serve: Serve, body: dict[str, Any]) -> None:
    def broken(_: object) -> Script:
        raise KeyError("internal_name in /srv/private.py")

    reply = ask(serve(broken).url, body)
    assert (reply.status_code, error_of(reply)["type"]) == (500, "api_error")
    assert "internal_name" not in reply.text
    assert "private" not in reply.text
    hidden = serve([Script(refusal=EngineFaultError("It failed.", log_detail="internal_name"))])
    assert "internal_name" not in ask(hidden.url, body).text


# --- minor ---


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_seed_m1_a_key_is_checked_in_either_header(serve: Serve, headers: dict[str, str]) -> None:
    served = serve(api_keys={"tests": KEY})
    assert ask(served.url, headers=headers).status_code == 200
    wrong = {name: value + "x" for name, value in headers.items()}
    assert ask(served.url, headers=wrong).status_code == 401


def test_seed_m2_cache_counts_are_in_both_usages(serve: Serve) -> None:
    usage = ChatUsage(
        prompt_tokens=10, completion_tokens=2, prompt_tokens_details=PromptTokensDetails(cached_tokens=7)
    )
    served = serve([answer("a b", usage=usage)] * 2)
    whole = ask(served.url).json()["usage"]
    last = deltas(ask(served.url, STREAMED))[-2]["usage"]
    for found in (whole, last):
        counts = [found[f"{name}_tokens"] for name in ("input", "cache_read_input", "cache_creation_input")]
        assert counts == [3, 7, 0]


def test_seed_m3_an_answer_without_choices_is_an_engine_fault(serve: Serve) -> None:
    reply = ask(serve([Script()]).url)
    assert (reply.status_code, error_of(reply)["type"]) == (500, "api_error")


# The error types of the API, as its documentation and the SDKs list them.
ERROR_TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
    "not_supported",
}


def test_seed_m4_every_error_has_a_type_of_the_api() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    types = {kind.type for kind in kinds if issubclass(kind, DragomanError)}
    assert types <= ERROR_TYPES


def test_seed_m5_a_broken_schema_is_refused_and_a_good_one_not_changed(serve: Serve) -> None:
    served = serve()
    broken = ask(served.url, REQUEST | {"tools": [tool(input_schema={"properties": {}})]})
    assert error_of(broken)["message"] == "tools.0.input_schema.type: Field required"
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    sent(served, user("go"), tools=[tool(input_schema=schema)])
    tools = served.engine.calls[-1].request.tools
    assert bytes(tools[0].function.parameters) == msgspec.json.encode(schema)


def test_seed_m6_is_obsolete_message_delta_may_count_the_input(serve: Serve) -> None:
    """The API has changed: message_delta's usage is the full one and overrides message_start's.

    Clients honour it, and an engine that counts the prompt at the end needs it.
    """
    served = serve([answer("a", usage=ChatUsage(prompt_tokens=11, completion_tokens=1))])
    events = deltas(ask(served.url, STREAMED))
    assert events[0]["message"]["usage"]["input_tokens"] > 0
    assert events[-2]["usage"]["input_tokens"] == 11


def test_seed_m7_silence_is_filled_with_pings(serve: Serve) -> None:
    script = Script(steps=[Delay(0.3), text_chunk("a"), Delay(0.3), finish_chunk()])
    names = names_of(ask(serve([script], ping_interval=0.05).url, STREAMED).content)
    first_text = names.index("content_block_delta")
    assert "ping" in names[:first_text]
    assert "ping" in names[first_text:]


# --- the gaps in its tests ---


def test_seed_gap_1_errors_while_streaming(serve: Serve) -> None:
    faults = [
        Script(steps=[Fail(EngineFaultError("It failed."))]),
        Script(steps=[text_chunk("a"), Fail(EngineFaultError("It failed."))]),
        Script(steps=[text_chunk("a")]),
        Script(steps=[call_chunk(name="f", arguments="[1]"), finish_chunk("tool_calls")]),
    ]
    served = serve(faults)
    replies = [ask(served.url, STREAMED) for _ in faults]
    early, *late = replies
    assert (early.status_code, error_of(early)["type"]) == (500, "api_error")
    for reply in late:
        assert names_of(reply.content)[-1] == "error"
        assert "message_stop" not in names_of(reply.content)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_seed_gap_2_auth_failures(serve: Serve, headers: dict[str, str]) -> None:
    reply = ask(serve(api_keys={"tests": KEY}).url, headers=headers)
    assert (reply.status_code, error_of(reply)["type"]) == (401, "authentication_error")
    assert reply.headers["x-should-retry"] == "false"


def test_seed_gap_3_a_tool_result_with_list_content(serve: Serve) -> None:
    content = [text("one"), image(), text("two")]
    turns = [user("go"), assistant(call()), user(result(content=content))]
    tool_turn, shown = sent(serve(), *turns, tools=[tool()])[-2:]
    assert tool_turn.content == "one\n[image 1]\ntwo"
    assert isinstance(shown.content, list)


def test_seed_gap_4_the_stop_reason_of_a_stop_sequence(serve: Serve) -> None:
    served = serve({"": answer("one END two")})
    found = ask(served.url, REQUEST | {"stop_sequences": ["END"]}).json()
    natural = ask(served.url, REQUEST | {"stop_sequences": ["absent"]}).json()
    assert [found["content"][0]["text"], found["stop_reason"]] == ["one ", "stop_sequence"]
    assert [natural["stop_reason"], natural["stop_sequence"]] == ["end_turn", None]


def test_seed_gap_5_concurrent_requests_keep_apart(serve: Serve) -> None:
    served = serve(lambda request: answer(f"for {request.messages[-1].content}"))

    def one(number: int) -> str:
        body = (STREAMED if number % 2 else REQUEST) | {"messages": [user(f"caller {number}")]}
        reply = ask(served.url, body)
        if number % 2:
            return "".join(event["delta"].get("text", "") for event in deltas(reply) if "delta" in event)
        return str(reply.json()["content"][0]["text"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(48))) == [f"for caller {number}" for number in range(48)]


def test_seed_gap_6_our_reader_of_events_swallows_nothing() -> None:
    with pytest.raises(msgspec.DecodeError):
        [data_of(event) for event in events_of(b"event: ping\ndata: {broken\n\n")]


def test_seed_gap_7_no_assertion_here_is_conditional() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    assert [house_rules.conditional_assertions(source) for source in sources] == [[]] * len(sources)


def test_every_finding_of_the_review_has_its_test() -> None:
    names = " ".join(globals())
    wanted = [f"c{n}" for n in range(1, 6)] + [f"i{n}" for n in range(1, 9)] + [f"m{n}" for n in range(1, 8)]
    wanted += [f"gap_{n}" for n in range(1, 8)]
    assert [one for one in wanted if f"test_seed_{one}_" not in names] == []
