"""`dragoman chat` as a command: options, the choice of a server, pipes, and a true terminal."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dragoman.cli.chat import command
from dragoman.cli.chat.client import ChatClient, ServerError, server_root
from dragoman.cli.chat.command import full_name, keys
from dragoman.cli.chat.embedded import Embedded, embedded_server
from dragoman.cli.main import main, parser
from dragoman.engines.scripted import ScriptedCall, ScriptedInferenceEngine, answer, refuse
from dragoman.errors import EngineUnavailableError, OverloadedError, SettingsError
from dragoman.models.progress import Silence
from dragoman.settings import Settings
from tests.support.dialogues import PARROT as FOLDER
from tests.support.fake_openai import FakeOpenAI, reply
from tests.support.serving import running_server, serving
from tests.unit.cli.chat.conftest import START, end, stream, text

PARROT = FOLDER / "parrot.gguf"
TOOLS = '[{"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object"}}]'


Pipe = Callable[..., int]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Runs the command with a message on standard input: `pipe("hi", "--url", url)`."""

    def piped(message: str, *arguments: str) -> int:
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(message.encode(errors="surrogateescape")))
        )
        return main(["chat", *arguments])

    return piped


def last_request(calls: list[ScriptedCall]) -> Any:
    """The request that the engine got last."""
    return calls[-1].request


# ---- pipes ------------------------------------------------------------------------------


def test_a_message_from_a_pipe_is_answered_as_plain_text(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ScriptedInferenceEngine([answer("Hello **there**.", thinking="Hm.")])
    with running_server(engine) as url:
        assert pipe("hi @none.png\n", "--url", f"{url}/v1/", "--system", "Be short.", "--no-thinking") == 0
    captured = capsys.readouterr()
    assert captured.out == "Hello **there**.\n"
    assert captured.err == ""
    request = last_request(engine.calls)
    assert request.messages[0].content == "Be short."
    assert request.messages[1].content == "hi @none.png"
    assert request.reasoning.enabled is False


def test_a_call_in_a_pipe_is_the_end(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tools.json").write_text(TOOLS, encoding="utf-8")
    engine = ScriptedInferenceEngine([answer("So:", calls=[("get_weather", '{"city": "Paris"}')])])
    with running_server(engine) as url:
        assert pipe("hi", "--url", url, "--tools", "tools.json", "--max-tokens", "99") == 0
    assert capsys.readouterr().out == 'So:\nget_weather {"city": "Paris"}\n'
    assert last_request(engine.calls).tools[0].function.name == "get_weather"


def test_an_image_goes_with_a_piped_message(pipe: Pipe) -> None:
    Path("a.gif").write_bytes(b"GIF89a....")
    engine = ScriptedInferenceEngine([answer("A cat.")])
    with running_server(engine) as url:
        assert pipe("what?", "--url", url, "--image", "a.gif") == 0
    assert len(last_request(engine.calls).messages[0].content) == 2


def test_an_answer_that_was_cut_is_said_beside_the_pipe(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_server(ScriptedInferenceEngine([answer("One two three.")])) as url:
        assert pipe("hi", "--url", url, "--max-tokens", "2") == 0
    captured = capsys.readouterr()
    assert captured.out == "One two\n"
    assert captured.err == "dragoman: The answer was cut: it reached --max-tokens.\n"


def test_no_answer_is_status_1_and_one_line(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(ScriptedInferenceEngine([refuse(OverloadedError("Full."))])) as url:
        assert pipe("hi", "--url", url) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dragoman: overloaded_error: Full. (req_")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--url", "http://127.0.0.1:9"), 1, "http://127.0.0.1:9 cannot be reached: "),
        (("--url", "127.0.0.1:8484"), 2, "--url: '127.0.0.1:8484' is no address"),
        (("--tools", "none.json"), 2, "--tools: cannot read none.json"),
        (("--tools", "bad.json"), 2, "--tools: bad.json holds no JSON list of tools"),
        (("--key", "a\nb"), 2, "the API key holds what no header can"),
        (("--model", "none.gguf"), 2, "no model file at none.gguf"),
    ],
)
def test_what_cannot_begin_is_one_line(
    pipe: Pipe, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, words: str
) -> None:
    Path("bad.json").write_text("{}", encoding="utf-8")
    assert pipe("hi", *arguments) == status
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dragoman: ")
    assert words in last


def test_an_empty_message_and_a_missing_image_are_said(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_server(ScriptedInferenceEngine([])) as url:
        assert pipe(" \n", "--url", url) == 2
        assert pipe("a\udcff", "--url", url) == 2
        assert pipe("hi", "--url", url, "--image", "none.png") == 1
    assert capsys.readouterr().err.splitlines() == [
        "dragoman: there is no message on standard input",
        "dragoman: standard input is no text in UTF-8: invalid start byte",
        "dragoman: there is no file none.png",
    ]


def test_without_any_standard_input_there_is_no_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with running_server(ScriptedInferenceEngine([])) as url:
        assert main(["chat", "--url", url]) == 2
    assert capsys.readouterr().err == "dragoman: there is no standard input to read\n"


def test_who_reads_no_further_is_no_trace() -> None:
    long = answer("many words " * 20_000)
    with running_server(ScriptedInferenceEngine([long])) as url:
        program = [sys.executable, "-m", "dragoman", "chat", "--url", url]
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(b"hi")
            process.stdin.close()
            assert process.stdout.read(4) == b"many"
            process.stdout.close()
            errors = process.stderr.read()
    assert (process.returncode, errors) == (1, b"")


@pytest.mark.parametrize(
    "arguments",
    [("--max-tokens", "0"), ("--max-tokens", "x"), ("--temperature", "2"), ("--temperature", "x")],
)
def test_numbers_that_cannot_be_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["chat", *arguments])


# ---- the choice of a server ------------------------------------------------------------------


def test_keys_are_sent_as_the_sdks_send_them() -> None:
    both = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}
    assert keys(None, both) == {"x-api-key": "k", "authorization": "Bearer t"}
    assert keys("mine", both) == {"x-api-key": "mine"}
    assert keys(None, {}) == {}


def test_a_servers_door_opens_with_the_key(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedInferenceEngine({"": answer("Hi.")})
    with serving(engine, api_keys={"me": "secret"}) as running:
        assert pipe("hi", "--url", running.url) == 1
        assert pipe("hi", "--url", running.url, "--key", "secret") == 0
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret")
        assert pipe("hi", "--url", running.url) == 0


def test_addresses_may_end_with_the_path() -> None:
    assert {server_root(f"https://a/b{end}") for end in ("", "/", "/v1", "/v1/", "/v1/messages")} == {
        "https://a/b"
    }
    with pytest.raises(SettingsError, match="--url"):
        server_root("ftp://a")


def test_the_server_of_this_machine_is_used_where_one_answers(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ScriptedInferenceEngine({"": answer("Here.")}, models=("first", "qwen2.5-coder-1.5b"))
    with running_server(engine) as url:
        monkeypatch.setattr(command, "USUAL", url)
        for wanted in ((), ("--model", "1.5b"), ("--model", "first"), ("--model", "claude-x")):
            assert pipe("hi", *wanted) == 0
    assert capsys.readouterr().out == "Here.\n" * 4
    assert [call.request.model for call in engine.calls] == [
        "first",
        "qwen2.5-coder-1.5b",
        "first",
        "first",
    ]


def test_the_address_of_the_environment_is_used(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedInferenceEngine({"": answer("Here.")})
    with running_server(engine) as url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        assert pipe("hi") == 0
    assert len(engine.calls) == 1


def test_a_server_without_models_needs_a_name(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ScriptedInferenceEngine({"": answer("Here.")}, models=())
    with running_server(engine) as url:
        assert pipe("hi", "--url", url) == 1
    assert "lists no model; --model names one" in capsys.readouterr().err


async def test_a_server_without_a_list_of_models_is_used_by_name() -> None:
    said = stream(START, *text("Hi."), *end())
    async with FakeOpenAI({"/v1/messages": said}) as fake:
        for arguments, status in (((), 1), (("--model", "big"), 0), (("--model", "1.5b"), 0)):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "dragoman", "chat", "--url", fake.url, *arguments),
                stdin=asyncio.subprocess.PIPE,
            )
            await process.communicate(b"hi")
            assert process.returncode == status
        asked = [seen.json["model"] for seen in fake.seen if seen.path == "/v1/messages"]
    assert asked == ["big", "qwen2.5-coder-1.5b"]


async def test_a_list_that_fails_otherwise_is_said() -> None:
    async with FakeOpenAI({"/v1/models?limit=1000": reply({}, 500)}) as fake:
        client = ChatClient(fake.url)
        with pytest.raises(ServerError, match="HTTP 500 Internal Server Error"):
            await command._listed(client)
        await client.aclose()


def test_a_short_name_is_the_catalogues_where_the_server_has_none() -> None:
    assert full_name("1.5b") == "qwen2.5-coder-1.5b"
    assert full_name("claude-x") == ""


# ---- a server of our own ----------------------------------------------------------------------


@pytest.mark.engine
def test_without_a_server_an_engine_runs_as_long_as_the_conversation(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipe("Say hello.", "--model", str(PARROT), "--temperature", "0") == 0
    captured = capsys.readouterr()
    assert captured.out == "Hello! How can I help you today?\n"
    assert "starting the embedded engine" in captured.err


@pytest.mark.engine
def test_a_server_that_lacks_the_model_does_not_stand_in_for_it(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedInferenceEngine([])
    with running_server(engine) as url:
        monkeypatch.setattr(command, "USUAL", url)
        assert pipe("Say hello.", "--model", str(PARROT), "--temperature", "0") == 0
    assert engine.calls == []


def test_engines_of_the_settings_are_served(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dragoman.toml").write_text('[[engines]]\nurl = "http://127.0.0.1:9"\n', encoding="utf-8")
    assert pipe("hi", "--model", "m") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "dragoman: settings from ./dragoman.toml"
    assert "overloaded_error" in said[-1]


def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(EngineUnavailableError, match="no model file"),
        embedded_server(None, {"model": "none.gguf"}, Silence()),
    ):
        pytest.fail("it has started")


def test_a_start_that_is_given_up_before_it_begins_loads_nothing() -> None:
    server = Embedded(Settings(port=0, model="none.gguf"), Silence())
    server.stop()
    server.run()
    server.stop()


class Interrupted(Silence):
    """A report in which somebody presses Ctrl-C as soon as something is said."""

    def wait(self, title: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.engine
def test_ctrl_c_ends_a_start() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        embedded_server(None, {"model": str(PARROT)}, Interrupted()),
    ):
        time.sleep(30)


# ---- output that cannot be written --------------------------------------------------------


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "http://a..b"])
def test_an_address_that_can_be_none_is_one_line(
    pipe: Pipe, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert pipe("hi", "--url", url) == 2
    said = capsys.readouterr().err
    assert said.startswith("dragoman: --url: ")
    assert said.count("\n") == 1


def test_tools_that_cannot_be_read_are_one_line(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    for data in (b'["\xff"]', b"[" * 100_000):
        Path("tools.json").write_bytes(data)
        assert pipe("hi", "--url", "http://127.0.0.1:9", "--tools", "tools.json") == 2
        assert "holds no JSON list of tools" in capsys.readouterr().err


def chatted(url: str, out: Any, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a process with this output."""
    program = [sys.executable, "-m", "dragoman", "chat", "--url", url]
    surroundings = {**os.environ, **environ}
    return subprocess.run(
        program, input=b"hi", stdout=out, stderr=subprocess.PIPE, env=surroundings, check=False, timeout=60
    )


def test_letters_that_the_output_lacks_are_question_marks() -> None:
    with running_server(ScriptedInferenceEngine([answer("Grüß Gott …")])) as url:
        done = chatted(url, subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Gr?? Gott ?\n", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with (
        running_server(ScriptedInferenceEngine([answer("Hello.")])) as url,
        Path("/dev/full").open("wb") as full,
    ):
        done = chatted(url, full)
    assert (done.returncode, done.stderr) == (2, b"dragoman: cannot write: No space left on device\n")
