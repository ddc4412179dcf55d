"""`dragoman translate`."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.cli.main import main
from dragoman.models import find
from dragoman.translate.editing import CLEARED
from tests.support.histories import tool_uses, uses
from tests.support.pdfs import document, pdf

REQUEST = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello."}]}


TRANSLATE = [sys.executable, "-m", "dragoman", "translate"]


def fed(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Puts a body on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["-"]):
        fed(monkeypatch, msgspec.json.encode(REQUEST))
        assert main(["translate", *arguments]) == 0
        said = capsys.readouterr().out
        assert msgspec.json.decode(said)["messages"] == REQUEST["messages"]
        assert '\n  "model": "m"' in said


def test_a_file_and_a_dialect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(msgspec.json.encode({**REQUEST, "top_k": 5, "stream": True}))
    assert main(["translate", str(file), "--dialect", "vllm"]) == 0
    sent = msgspec.json.decode(capsys.readouterr().out)
    assert (sent["top_k"], sent["stream"]) == (5, True)
    assert main(["translate", str(file)]) == 0
    assert "top_k" not in msgspec.json.decode(capsys.readouterr().out)


def test_a_pdf_shows_its_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    turn = {"role": "user", "content": [document(pdf("One", "Two"))]}
    file.write_bytes(msgspec.json.encode({**REQUEST, "messages": [turn]}))
    assert main(["translate", str(file)]) == 0
    (message,) = msgspec.json.decode(capsys.readouterr().out)["messages"]
    assert [part["type"] for part in message["content"]].count("image_url") == 2


def test_a_model_of_the_catalogue_reads_a_pdf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    turn = {"role": "user", "content": [document(pdf("One", "Two"))]}
    file.write_bytes(msgspec.json.encode({**REQUEST, "messages": [turn]}))
    assert main(["translate", str(file), "--model", "qwen2.5-coder-0.5b"]) == 0
    (message,) = msgspec.json.decode(capsys.readouterr().out)["messages"]
    assert "One\nTwo" in message["content"]


def test_a_file_of_a_server_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    file.write_bytes(msgspec.json.encode({**REQUEST, "messages": [{"role": "user", "content": [block]}]}))
    assert main(["translate", str(file)]) == 1
    said = msgspec.json.decode(capsys.readouterr().err)["error"]["message"]
    assert said == "messages.0.content.0.source.file_id: 'file_1' is a file of a server, and here is none"


def test_a_model_of_the_catalogue_shows_its_prompt_aids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aids = find("").aids
    assert aids is not None
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    turns = [
        *REQUEST["messages"],  # type: ignore[misc]  # a list of turns
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]},
    ]
    body = msgspec.json.encode({**REQUEST, "messages": turns, "tools": tools, "system": "You are Ed."})
    for arguments, aided in ((["--model", find("").name], True), ([], False)):
        fed(monkeypatch, body)
        assert main(["translate", *arguments]) == 0
        sent = msgspec.json.decode(capsys.readouterr().out)
        system, result = sent["messages"][0]["content"], sent["messages"][-1]["content"]
        assert (aids.policy in system, aids.result in result) == (aided, aided)
        assert (sent["model"], sent.get("tool_choice")) == ((find("").name, "none") if aided else ("m", None))


def test_a_model_without_aids_or_without_its_dialect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed(monkeypatch, msgspec.json.encode(REQUEST))
    assert main(["translate", "--model", "smollm2-135m", "--dialect", "llamacpp"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["messages"] == REQUEST["messages"]
    for arguments, words in (
        (["--model", "gpt-9"], "no model is named 'gpt-9'"),
        (["--model", "./other.gguf"], "a model given by its path has no prompt aids"),
        (["--model", "smollm2-135m", "--dialect", "vllm"], "whose dialect is llamacpp"),
    ):
        assert main(["translate", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_aids_that_are_turned_off_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "off.toml"
    file.write_text("[local]\nprompt_aids = false\n", "utf-8")
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    body = msgspec.json.encode({**REQUEST, "tools": tools})

    def sent(*arguments: str) -> Any:
        fed(monkeypatch, body)
        assert main(["translate", "--model", find("").name, *arguments]) == 0
        return msgspec.json.decode(capsys.readouterr().out)

    assert len(sent()["messages"]) == 2
    assert sent("--config", str(file))["messages"] == REQUEST["messages"]
    monkeypatch.setenv("DRAGOMAN_LOCAL__PROMPT_AIDS", "false")
    assert sent()["messages"] == REQUEST["messages"]


def test_context_edits_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    edit = tool_uses(trigger={"type": "input_tokens", "value": 100}, keep=1)
    body = {**REQUEST, "messages": uses(2, result="x" * 900), "context_management": {"edits": [edit]}}
    fed(monkeypatch, msgspec.json.encode(body))
    assert main(["translate"]) == 0
    messages = msgspec.json.decode(capsys.readouterr().out)["messages"]
    assert [turn["content"] for turn in messages if turn["role"] == "tool"] == [CLEARED, "x" * 900]


GOING_ON = {"type": "continue", "previous_message_id": "msg_1"}


@pytest.mark.parametrize("body", [b"", b"{}", msgspec.json.encode({**REQUEST, "thread": GOING_ON})])
def test_what_cannot_be_translated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    fed(monkeypatch, body)
    assert main(["translate"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert msgspec.json.decode(captured.err)["error"]["type"] == "invalid_request_error"


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "none.json"]) == 2
    assert capsys.readouterr().err == "dragoman: cannot read none.json: No such file or directory\n"


def test_any_text_can_be_printed_on_any_terminal(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"é 👋"}]}', "utf-8")
    done = subprocess.run(
        [*TRANSLATE, str(file)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert msgspec.json.decode(done.stdout)["messages"][0]["content"] == "é 👋"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_all_of_it_arrives(tmp_path: Path, unbuffered: str) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(msgspec.json.encode({**REQUEST, "system": "x" * 500_000}))
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([*TRANSLATE, str(file)], capture_output=True, env=environ, check=True)
    assert len(msgspec.json.decode(done.stdout)["messages"][0]["content"]) == 500_000


def test_who_reads_only_the_beginning_sees_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    turn = {"role": "user", "content": "x" * 1_000_000}
    file.write_bytes(msgspec.json.encode({**REQUEST, "messages": [turn]}))
    with subprocess.Popen([*TRANSLATE, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(msgspec.json.encode(REQUEST))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*TRANSLATE, str(file)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr == b"dragoman: cannot write: No space left on device\n"


def test_without_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["translate"]) == 2
    assert capsys.readouterr().err == "dragoman: there is no standard input to read\n"


def test_thinking_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
    turns = [
        *REQUEST["messages"],  # type: ignore[misc]  # a list of turns
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [result]},
    ]
    fed(monkeypatch, msgspec.json.encode({**REQUEST, "messages": turns}))
    assert main(["translate"]) == 0
    sent = msgspec.json.decode(capsys.readouterr().out)["messages"]
    assert sent[1]["reasoning_content"] == "Hm."
    assert sent[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
