"""The lines of the log."""

from __future__ import annotations

import io
import logging
from typing import Literal

import msgspec
import pytest

from dragoman.errors import EngineFaultError, InvalidRequestError
from dragoman.observe import logs


def written(form: Literal["text", "json"], failure: BaseException | None = None) -> str:
    """One line in a form."""
    stream = io.StringIO()
    logs.configure("info", form, stream)
    logs.log(logging.INFO, "request", {"id": "req_1", "path": "/a b\n", "seconds": 0.25, "who": ""}, failure)
    return stream.getvalue()


def test_a_text_line_is_one_line() -> None:
    line = written("text")
    assert line.endswith('info request id=req_1 path="/a b\\n" seconds=0.250 who=""\n')
    assert line.count("\n") == 1
    assert line[4] == "-"
    assert "T" in line
    assert "Z info" in line


def test_a_json_line_is_one_object() -> None:
    entry = msgspec.json.decode(written("json"))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "message": "request",
        "id": "req_1",
        "path": "/a b\n",
        "seconds": 0.25,
        "who": "",
    }


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("max_tokens: Field required", "max_tokens: Field required"),
        (
            "a.type: Input should be 'x' or 'y', not 'secret, not \\'this'",
            "a.type: Input should be 'x' or 'y'",
        ),
        ("a.type: Input should be 'x', not 'cut without an en...", "a.type: Input should be 'x'"),
        ("a.name: Tool names must be unique: 'secret'", "a.name: Tool names must be unique"),
        ("tool_choice.name: Tool 'a: secret' not found", "tool_choice.name: Tool '...' not found"),
        (
            'a.id: ids must be unique, found "it\'s secret" twice',
            "a.id: ids must be unique, found '...' twice",
        ),
        (
            "a.0: ids were found without results after: toolu_1. Each",
            "a.0: ids were found without results after",
        ),
        ("content-encoding: 'secret' is not supported", "content-encoding: '...' is not supported"),
        ("'secret' is not", "'...' is not"),
        ("the request's body is larger than 5 bytes", "the request's body is larger than 5 bytes"),
        ("a" * 300 + ": b", "a" * 200),
    ],
)
def test_a_refusals_reason_holds_nothing_of_the_request(message: str, reason: str) -> None:
    assert logs.reason_of(InvalidRequestError(message)) == reason


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 1)])
def test_content_is_for_who_debugs(level: str, lines: int) -> None:
    stream = io.StringIO()
    logs.configure(level, "text", stream)
    error = EngineFaultError("it failed", log_detail="status 500", log_content="You said: hello")
    logs.log_error("req_1", error)
    assert ("You said: hello" in stream.getvalue()) is (level == "debug")
    assert stream.getvalue().count("id=req_1") == lines


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_key_is_never_shown(form: Literal["text", "json"]) -> None:
    stream = io.StringIO()
    logs.configure("debug", form, stream)
    logs.hide('sk-"secret"')
    logs.hide("")
    logs.hide("the")
    failure = ValueError('sk-"secret" in a trace')
    logs.log(logging.INFO, 'the sk-"secret"', {"detail": 'Bearer sk-"secret"', "count": 1}, failure)
    assert "secret" not in stream.getvalue()
    assert "the [key]" in stream.getvalue()
    assert "Bearer [key]" in stream.getvalue()


@pytest.mark.parametrize("secrets", [("secret", "secret-and-more"), ("secret-and-more", "secret", "secret")])
def test_a_key_that_holds_another_is_hidden_whole(
    secrets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_HIDDEN", [])
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    for secret in secrets:
        logs.hide(secret)
    logs.log(logging.INFO, "secret-and-more secret", {})
    assert stream.getvalue().endswith("info [key] [key]\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_unexpected_failure_has_its_trace(form: Literal["text", "json"]) -> None:
    assert "ZeroDivisionError" in written(form, ZeroDivisionError("no"))


def test_the_level_is_kept_and_the_servers_chatter_is_not() -> None:
    stream = io.StringIO()
    logs.configure("warning", "text", stream)
    logs.log(logging.INFO, "quiet", {})
    logging.getLogger("uvicorn.error").warning("chatter")
    logging.getLogger("uvicorn.error").error("trouble")
    assert stream.getvalue().split()[1:] == ["error", "trouble"]
