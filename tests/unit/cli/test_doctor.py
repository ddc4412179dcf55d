"""`dragoman doctor`: what it examines, what it prints, how it ends."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from dragoman.cli import doctor
from dragoman.cli.main import main
from dragoman.engines.doctor import Report
from tests.support.dialogues import PARROT
from tests.support.fake_able import NOTHING, Able, able
from tests.support.fake_openai import Answer, FakeOpenAI, reply, whole

# What the parrot on llama.cpp shows.
PARROT_RESULTS = {
    "models": "1",
    "context": "2,048 tokens",
    "chat": "yes",
    "reasoning": "yes",
    "switch": "on and off",
    "streaming": "yes",
    "through": "yes",
    "usage": "yes",
    "stream_usage": "yes",
    "early_usage": "yes",
    "cached": "told",
    "overflow": "refused",
    "tools": "yes",
    "forced_any": "yes",
    "forced_named": "yes, by Dragoman",
    "no_calls": "as text",
    "parallel": "yes",
    "one_call": "ignored",
    "tool_stream": "yes",
    "tool_results": "yes",
    "counting": "exact",
    "structured": "yes",
    "stops": "yes",
    "stop_named": "yes",
    "prefill": "yes",
    "images": "no",
    "logprobs": "yes",
    "token_ids": "sampled only",
    "system": "yes",
    "system_turns": "in place",
    "earlier": "in tool loops",
    "arguments": "written anew",
}


@contextmanager
def served(can: Able) -> Iterator[FakeOpenAI]:
    """A fake server in a thread of its own, since the command runs a loop of its own."""
    fake, ready, loop, ended = able(can), threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with fake:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)


def test_a_table_for_a_server_that_can(capsys: pytest.CaptureFixture[str]) -> None:
    with served(Able()) as fake:
        assert main(["doctor", f"{fake.url}/v1"]) == 0
    said = capsys.readouterr()
    assert f"127.0.0.1:{fake.port} speaks the dialect vllm; model m\n" in said.out
    assert "\nforced: a named one  yes" in said.out
    assert "\x1b[" not in said.out
    assert said.err == ""


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with served(NOTHING) as fake:
        assert main(["doctor", fake.url, "--json", "--model", "m"]) == 1
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert (report.dialect, report.model, report.works) == ("generic", "m", False)
    assert {row.name for row in report.findings} >= {"chat", "tools", "arguments"}


def test_the_engines_of_the_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with served(Able()) as first, served(NOTHING) as second:
        engines = "".join(
            f'[[engines]]\nurl = "{fake.url}"\nname = "{name}"\n'
            for name, fake in (("first", first), ("second", second))
        )
        Path("dragoman.toml").write_text(engines, encoding="utf-8")
        assert main(["doctor", "--json"]) == 1
    reports = msgspec.json.decode(capsys.readouterr().out, type=list[Report])
    assert [(report.engine, report.works) for report in reports] == [("first", True), ("second", False)]


def test_an_engine_that_is_gone_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with served(Able()) as gone:
        pass
    with served(Able()) as fake:
        engines = "".join(f'[[engines]]\nurl = "{url}"\n' for url in (gone.url, fake.url))
        Path("dragoman.toml").write_text(engines, encoding="utf-8")
        assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert f"127.0.0.1:{fake.port} speaks the dialect vllm" in said.out
    assert f"dragoman: {gone.url}: the engine cannot be reached" in said.err


def test_a_url_that_the_settings_know_has_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Able()) as fake:
        file = Path("other.toml")
        file.write_text(f'[[engines]]\nurl = "{fake.url}"\nkey = "from-file"\n', encoding="utf-8")
        assert main(["doctor", f"{fake.url}/v1", "--config", str(file)]) == 0
        monkeypatch.setenv("MY_KEY", "from-environment")
        assert main(["doctor", fake.url, "--key-env", "MY_KEY", "--dialect", "vllm"]) == 0
        assert main(["doctor", fake.url, "--key", "from-flag"]) == 0
    keys = [seen.headers.get("authorization") for seen in fake.seen]
    assert list(dict.fromkeys(keys)) == ["Bearer from-file", "Bearer from-environment", "Bearer from-flag"]


def test_what_cannot_be_examined(capsys: pytest.CaptureFixture[str]) -> None:
    with served(Able()) as fake:
        fake.routes["/v1/models"] = reply({"error": {"message": "no key"}}, 401)
        assert main(["doctor", fake.url]) == 2
        refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith(f"dragoman: {fake.url}: the engine is not set up for this request")
    assert "the engine refuses our key: status 401" in refused.err
    assert main(["doctor", fake.url]) == 2
    assert f"dragoman: {fake.url}: the engine cannot be reached" in capsys.readouterr().err
    assert main(["doctor", "ftp://somewhere"]) == 2
    assert "is not an address like" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--key", "k"], ["--key-env", "K"], ["--dialect", "vllm"]])
def test_options_about_a_url_need_one(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *option]) == 2
    assert (
        capsys.readouterr().err == f"dragoman: {option[0]} is about the engine at URL, and there is no URL\n"
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "1e9", "nan"])
def test_a_timeout_that_is_none(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "http://127.0.0.1:1", f"--timeout={seconds}"])
    assert ended.value.code == 2
    assert "argument --timeout: invalid" in capsys.readouterr().err


def test_a_person_at_a_terminal_sees_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(doctor, "Console", lambda **_: console)
    with served(Able()) as fake:
        assert main(["doctor", fake.url]) == 0
    assert "asking http" in screen.getvalue()
    assert "\x1b[32myes" in capsys.readouterr().out


def test_what_an_engine_says_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    model = "m\x1b]0;title\x07\nIt works"
    with served(NOTHING) as fake:
        fake.routes["/v1/models"] = reply({"data": [{"id": model}]})
        fake.routes["/v1/chat/completions"] = reply(whole("red \x1b[31mor\x9b2J blue"))
        main(["doctor", fake.url])
    out = capsys.readouterr().out
    assert "model m]0;title It works\n" in out
    assert 'answers "red [31mor2J blue"' in out
    assert {letter for letter in out if not letter.isprintable()} == {"\n"}


def test_what_an_engine_says_of_a_failure_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with served(NOTHING) as fake:
        fake.routes["/v1/models"] = reply({"error": {"message": "no", "type": "\x1b[2J"}}, 404)
        assert main(["doctor", fake.url]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_key_that_no_header_can_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "a\r\nb")
    with served(NOTHING) as fake:
        for option, source in (("--key=a\nb", "`key`"), ("--key-env=MY_KEY", "variable MY_KEY")):
            assert main(["doctor", fake.url, option]) == 2
            said = capsys.readouterr().err
            assert f"{source} holds what no header can" in said
            assert said.count("\n") == 1
        assert fake.seen == []


def test_a_list_of_models_that_is_too_deep(capsys: pytest.CaptureFixture[str]) -> None:
    with served(NOTHING) as fake:
        fake.routes["/v1/models"] = Answer(pieces=[b'{"data":%b' % (b"[" * 100_000)])
        assert main(["doctor", fake.url]) == 2
    said = capsys.readouterr().err
    assert "--model names one" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_full_disk_is_one_line(option: list[str]) -> None:
    with served(NOTHING) as fake, Path("/dev/full").open("wb") as full:
        program = [sys.executable, "-m", "dragoman", "doctor", fake.url, *option]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (2, b"dragoman: cannot write: No space left on device\n")


@pytest.mark.engine
def test_the_embedded_engine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text("[local]\ncontext = 2048\nthreads = 1\n", encoding="utf-8")
    model = str(PARROT / "parrot.gguf")
    assert main(["doctor", "--model", model, "--config", str(settings), "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert (report.engine, report.dialect, report.model) == ("the embedded engine", "llamacpp", "parrot")
    # with its evidence, where a result is another one
    others = [row for row in report.findings if row.result != PARROT_RESULTS.get(row.name)]
    assert others == []
    assert [row.name for row in report.findings] == list(PARROT_RESULTS)
    assert report.differences == ()


def test_an_embedded_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", "none.gguf"]) == 2
    assert "no model file at none.gguf" in capsys.readouterr().err
