"""The 18 defects of an earlier Messages endpoint in a training stack: none of them happens here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import Script, ScriptedInferenceEngine, answer, finish_chunk, text_chunk
from dragoman.errors import ApiError, DragomanError, OverloadedError
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry
from dragoman.wire.anthropic.response import MessageOut
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage, ChatRequest, ChatUsage
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, ask, data_of, error_of, events_of, names_of
from tests.support.serving import running_server
from tests.support.translation import assistant, image, result, text, tool, user


def asked(**fields: Any) -> dict[str, Any]:
    """A plain request with something changed."""
    return REQUEST | fields


def test_stack_defect_01_an_agent_loop_works_with_every_block(serve: Serve) -> None:
    served = serve([answer("I call.", thinking="Hm.", calls=[("f", '{"q": "x"}')]), answer("Done.")])
    first = ask(served.url, asked(tools=[tool()])).json()
    call_id = first["content"][-1]["id"]
    turns = [
        user("go"),
        {"role": "assistant", "content": first["content"]},
        user(result(call_id, [text("found"), image()]), text("and now?")),
    ]
    assert ask(served.url, asked(messages=turns, tools=[tool()])).json()["content"][0]["text"] == "Done."
    _, model, tool_turn, shown = served.engine.calls[-1].request.messages
    assert (model.reasoning, model.content) == ("Hm.", "I call.")
    assert [call.function.arguments for call in model.tool_calls or ()] == ['{"q": "x"}']
    assert tool_turn.content == "found\n[image 1]"
    assert [type(part).__name__ for part in shown.content or ()] == ["TextPart", "ImagePart", "TextPart"]


def test_stack_defect_02_tools_sampling_and_thinking_reach_the_engine(serve: Serve) -> None:
    served = serve([answer(calls=[("f", "{}")])])
    body = asked(
        tools=[tool()],
        tool_choice={"type": "any"},
        top_k=7,
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        max_tokens=2048,
    )
    assert ask(served.url, body).status_code == 200
    request = served.engine.calls[0].request
    assert request.tool_choice is not None
    assert (request.tools[0].function.name, request.tool_choice.mode, request.top_k) == ("f", "required", 7)
    assert (request.reasoning.enabled, request.reasoning.budget_tokens) == (True, 1024)


def test_stack_defect_03_a_stream_that_was_asked_for_is_one(serve: Serve) -> None:
    served = serve()
    reply = ask(served.url, STREAMED)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert names_of(reply.content)[-1] == "message_stop"
    assert served.engine.calls[0].streamed


def test_stack_defect_04_calls_are_blocks_of_their_own(serve: Serve) -> None:
    served = serve([answer(calls=[("f", '{"q": "1"}'), ("f", '{"q": "2"}')])])
    reply = ask(served.url, asked(tools=[tool()])).json()
    assert [block["type"] for block in reply["content"]] == ["tool_use", "tool_use"]
    assert [block["input"] for block in reply["content"]] == [{"q": "1"}, {"q": "2"}]
    assert reply["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("finish", "matched", "reason"),
    [
        ("stop", None, "end_turn"),
        ("stop", "END", "stop_sequence"),
        ("length", None, "max_tokens"),
        ("content_filter", None, "refusal"),
    ],
)
def test_stack_defect_05_each_end_has_its_own_reason(
    serve: Serve, finish: str, matched: str | None, reason: str
) -> None:
    usage = ChatUsage(prompt_tokens=1, completion_tokens=100)
    script = Script(steps=[text_chunk("a"), finish_chunk(finish, matched)], usage=usage)
    reply = ask(serve([script]).url, asked(stop_sequences=["END"])).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == (reason, matched)


def test_stack_defect_06_ids_are_of_the_messages_api(serve: Serve) -> None:
    reply = ask(serve([answer(calls=[("f", "{}")])]).url, asked(tools=[tool()])).json()
    assert reply["id"].startswith("msg_")
    assert re.fullmatch(r"toolu_[a-zA-Z0-9_-]+", reply["content"][0]["id"])


def test_stack_defect_07_errors_have_the_envelope_and_no_internals(serve: Serve) -> None:
    error = OverloadedError("The engine is full.", log_detail="queue_depth at 10.0.0.7")
    reply = ask(serve([Script(refusal=error)]).url)
    assert (reply.status_code, error_of(reply)) == (
        529,
        {"type": "overloaded_error", "message": "The engine is full."},
    )
    assert "queue_depth" not in reply.text


@pytest.mark.parametrize("session_id", [{"a": 1}, [1], 1.5, True])
def test_stack_defect_08_a_bad_session_id_is_the_clients_mistake(serve: Serve, session_id: Any) -> None:
    reply = ask(serve().url, asked(session_id=session_id))
    assert (reply.status_code, error_of(reply)["type"]) == (400, "invalid_request_error")
    assert error_of(reply)["message"].startswith("session_id: ")


def test_stack_defect_09_an_unknown_model_is_not_found(serve: Serve) -> None:
    reply = ask(serve(models=("one", "two")).url, asked(model="absent"))
    assert (reply.status_code, error_of(reply)["type"]) == (404, "not_found_error")
    assert all(name in error_of(reply)["message"] for name in ("absent", "one", "two"))


SESSIONS = [f"session {number}" for number in range(12)]


@pytest.mark.parametrize("header", ["x-session-id", "x-claude-code-session-id"])
def test_stack_defect_10_a_session_header_keeps_a_conversation_on_its_engine(header: str) -> None:
    engines = [ScriptedInferenceEngine({"": answer("ok")}, name=name) for name in ("one", "two", "three")]
    with running_server(InferenceEngineClient(engines)) as url:

        def engine_of(session: str, body: dict[str, Any]) -> str:
            return ask(url, body, headers={header: session}).headers["x-dragoman-engine"]

        first = [engine_of(session, REQUEST) for session in SESSIONS]
        again = [engine_of(session, asked(messages=[user("other")])) for session in SESSIONS]
    assert first == again
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "user"}, "messages.0.content"),
        ({"content": "hi"}, "messages.0.role"),
        ("hi", "messages.0"),
        ({"role": "user", "content": None}, "messages.0.content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.0.content.0.text"),
        ({"role": "robot", "content": "hi"}, "messages.0.role"),
    ],
)
def test_stack_defect_11_a_message_with_a_hole_is_refused_by_path(
    serve: Serve, message: Any, path: str
) -> None:
    reply = ask(serve().url, asked(messages=[message]))
    assert (reply.status_code, error_of(reply)["type"]) == (400, "invalid_request_error")
    assert error_of(reply)["message"].startswith(f"{path}: ")


def test_stack_defect_12_tokens_can_be_counted(serve: Serve) -> None:
    served = serve()
    body = {key: value for key, value in asked(tools=[tool()]).items() if key != "max_tokens"}
    counted = httpx.post(f"{served.url}/v1/messages/count_tokens?beta=true", json=body, timeout=20)
    assert counted.json() == {
        "input_tokens": ask(served.url, asked(tools=[tool()])).json()["usage"]["input_tokens"]
    }


def test_stack_defect_13_token_ids_are_never_claimed_where_there_are_none() -> None:
    """The Messages API has no place for token ids or log-probabilities, so an answer holds none.

    What an engine can give is data (`EngineCapabilities`) and off until the engine says otherwise.
    """
    unknown = EngineCapabilities()
    assert (unknown.token_ids, unknown.logprobs, unknown.token_door) == (False, False, False)
    assert not {"token_ids", "prompt_token_ids", "logprobs"} & set(MessageOut.__struct_fields__)


def test_stack_defect_14_assistant_text_joins_with_nothing_and_a_string_equals_a_block(serve: Serve) -> None:
    served = serve()

    def prompt(*turns: Any, **fields: Any) -> list[ChatMessage]:
        assert ask(served.url, asked(messages=list(turns), **fields)).status_code == 200
        return served.engine.calls[-1].request.messages

    blocks = [user("a"), assistant(text("b"), text("c")), user("d")]
    assert prompt(*blocks) == prompt(user(text("a")), assistant("bc"), user(text("d")))
    assert prompt(user("a"), system="x\ny") == prompt(user("a"), system=[text("x"), text("y")])


def test_stack_defect_15_usage_has_the_cache_fields(serve: Serve) -> None:
    served = serve()
    usages = [ask(served.url).json()["usage"]]
    usages += [data_of(event)["usage"] for event in events_of(ask(served.url, STREAMED).content)[-2:-1]]
    for usage in usages:
        assert {"cache_read_input_tokens", "cache_creation_input_tokens"} <= usage.keys()


def test_stack_defect_16_every_defect_has_its_test() -> None:
    names = " ".join(globals())
    assert [n for n in range(1, 19) if f"test_stack_defect_{n:02}_" not in names] == []


@contextmanager
def fake_engine(status: int, content: bytes) -> Iterator[str]:
    """The address of an engine that answers every request in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (200, b"<html>Welcome</html>", ApiError),
        (200, b'{"object": "error", "message": "no"}', ApiError),
        (502, b"<html>Bad Gateway</html>", ApiError),
        (503, b'{"error": {"message": "busy"}}', OverloadedError),
    ],
)
async def test_stack_defect_17_a_remote_engines_status_and_body_are_read(
    status: int, content: bytes, kind: type[DragomanError]
) -> None:
    with fake_engine(status, content) as url:
        engine = RemoteInferenceEngine(EngineEntry(url=url, models=("m",), dialect="generic"))
        request = ChatRequest(model="m", messages=[ChatMessage(role="user", content="hi")])
        with pytest.raises(kind) as raised:
            await engine.chat_completion(request)
        await engine.aclose()
    assert "html" not in raised.value.message


@pytest.mark.parametrize("body", [REQUEST, STREAMED])
def test_stack_defect_18_an_answer_without_choices_is_an_engine_fault(
    serve: Serve, body: dict[str, Any]
) -> None:
    reply = ask(serve([Script()]).url, body)
    found = data_of(events_of(reply.content)[-1])["error"] if body is STREAMED else error_of(reply)
    assert found["type"] == "api_error"
