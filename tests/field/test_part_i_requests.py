"""What a request holds: the cases of part I that are about it."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from dragoman.engines.scripted import Script
from dragoman.errors import PromptTooLongError
from tests.field import test_part_i_transport
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, ask, asked, error_of, refused
from tests.support import answers

TURN = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0"),
        (
            [{"role": "user", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}]}],
            "messages.0.content.0",
        ),
        (
            [TURN, {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}],
            "messages.1.content.0",
        ),
        ([], "messages"),
    ],
    ids=["text without text", "thinking of a user", "result of an assistant", "no messages"],
)
def test_i129_what_stands_in_the_wrong_place_is_named(plain: str, messages: list[Any], path: str) -> None:
    assert refused(plain, messages=messages)["message"].startswith(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", [{"role": "user", "content": [{"type": "text", "text": 5}]}]),
        ("temperature", "NaN"),
        ("top_k", "many"),
        ("top_k", 1.5),
        ("top_p", [1]),
        ("max_tokens", "9"),
        ("max_tokens", -1),
        ("stop_sequences", "stop"),
    ],
)
def test_i130_wrong_types_are_named(plain: str, field: str, value: object) -> None:
    assert refused(plain, **{field: value})["message"].startswith(field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_i130_what_is_no_number_is_refused(plain: str, number: str) -> None:
    body = msgspec.json.encode({**REQUEST, "temperature": 0.5}).replace(b"0.5", number.encode())
    response = httpx.post(f"{plain}/v1/messages", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


def test_i137_a_prompt_that_is_too_long_says_it_in_the_words_that_clients_read(serve: Serve) -> None:
    served = serve({"": Script(refusal=PromptTooLongError(4097, 4096))})
    for body in (REQUEST, STREAMED):
        response = ask(served.url, body)
        assert response.status_code == 400
        assert error_of(response)["message"] == "prompt is too long: 4097 tokens > 4096 maximum"


def test_i137_max_tokens_is_never_refused_for_its_size(serve: Serve) -> None:
    assert asked(serve().url, max_tokens=128_000).status_code == 200


@pytest.mark.parametrize("version", ["tomorrow", "2023", "2023/06/01"])
def test_i138_a_malformed_version_is_refused(plain: str, version: str) -> None:
    assert ask(plain, headers={"anthropic-version": version}).status_code == 400


def test_i138_a_missing_version_is_served(plain: str) -> None:
    assert ask(plain).status_code == 200


def test_i139_fields_that_do_nothing_here_are_taken(plain: str) -> None:
    fields = {
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "betas": ["a"],
        "speed": "fast",
        "inference_geo": "eu",
        "container": None,
        "mcp_servers": [],
        "safeguards": {},
        "tags": ["x"],
    }
    assert asked(plain, **fields).status_code == 200


def test_i139_but_servers_of_tools_are_not_ignored_in_silence(plain: str) -> None:
    servers = [{"type": "url", "name": "a", "url": "https://a.example"}]
    assert refused(plain, mcp_servers=servers)["message"].startswith("mcp_servers")


def test_i140_a_temperature_over_one_is_refused_as_in_the_public_api(plain: str) -> None:
    assert refused(plain, temperature=1.5)["message"].startswith("temperature")
    assert asked(plain, temperature=1.0).status_code == 200


def test_i147_a_prefill_is_continued(serve: Serve) -> None:
    served = serve()
    asked(served.url, messages=[TURN, {"role": "assistant", "content": "The answer is"}])
    request = served.engine.calls[0].request
    assert request.continue_final
    assert [message.role for message in request.messages] == ["user", "assistant"]


def test_i147_a_prefill_that_ends_in_white_space_is_refused(plain: str) -> None:
    messages = [TURN, {"role": "assistant", "content": "The answer is "}]
    assert "trailing whitespace" in refused(plain, messages=messages)["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_i148_max_tokens_0_warms_the_cache_and_answers_nothing(plain: str, stream: bool) -> None:
    response = asked(plain, max_tokens=0, stream=stream)
    message = answers.read(response.content) if stream else response.json()
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["output_tokens"] == 0


def test_i149_turns_of_one_role_are_merged(serve: Serve) -> None:
    served = serve()
    asked(served.url, messages=[TURN, {"role": "user", "content": "there"}])
    (message,) = served.engine.calls[0].request.messages
    assert message.content == "Hi\nthere"


def test_i150_required_nulls_are_there_and_optional_ones_are_not(plain: str) -> None:
    message = ask(plain).json()
    for key in ("stop_sequence", "stop_details", "container", "diagnostics"):
        assert message[key] is None
    assert "context_management" not in message
    assert "details" not in refused(plain, messages=[])


def test_each_case_of_the_part_has_its_test() -> None:
    names = " ".join([*globals(), *vars(test_part_i_transport)])
    assert [number for number in range(120, 151) if f"test_i{number}_" not in names] == []
