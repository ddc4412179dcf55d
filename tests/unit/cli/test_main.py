"""The command line as a person meets it: help, versions, sentences, exit statuses."""

from __future__ import annotations

import argparse
import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dragoman import __version__
from dragoman.cli import banner
from dragoman.cli.main import main, parser
from dragoman.cli.serve import gathered
from dragoman.errors import SettingsError
from dragoman.settings import Settings
from dragoman.wire.openai import ModelCard

DRAGOMAN = [sys.executable, "-m", "dragoman"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real command."""
    return subprocess.run(
        [*DRAGOMAN, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60, check=False
    )


def given(*arguments: str) -> argparse.Namespace:
    """What `dragoman serve` was told."""
    return parser().parse_args(["serve", *arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start the command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"dragoman {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [(), ("serve",), ("chat",), ("models",), ("models", "ls"), ("translate",)]
)
def test_help_fits_a_terminal_and_has_no_colours(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--help")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert "serve the Messages API" in said
    assert "a Messages request in, the Chat Completions request out" in said


def test_no_command_at_all_is_answered_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == parser().format_help()


@pytest.mark.parametrize(
    "arguments", [("models",), ("nothing",), ("serve", "--colour"), ("serve", "--port", "x")]
)
def test_a_wrong_command_line_is_status_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_keys_are_not_taken_where_others_can_read_them() -> None:
    assert "--api-key" not in parser().format_help() + str(given())


# ---- settings -----------------------------------------------------------------


def test_nothing_given_is_the_embedded_engine(folder: Path) -> None:
    assert gathered(given()) == Settings()


def test_flags_become_settings(folder: Path) -> None:
    settings = gathered(
        given(
            "--engine",
            "http://a",
            "--engine",
            "http://b",
            "--dialect",
            "vllm",
            "--port",
            "0",
            "--host",
            "::1",
        )
    )
    assert [(entry.url, entry.dialect) for entry in settings.engines] == [
        ("http://a", "vllm"),
        ("http://b", "vllm"),
    ]
    assert (settings.host, settings.port) == ("::1", 0)


def test_a_model_is_the_embedded_one_or_the_default_of_others(folder: Path) -> None:
    assert gathered(given("--model", "m")).model == "m"
    other = gathered(given("--model", "m", "--engine", "http://a"))
    assert (other.model, other.default_model) == ("", "m")


def test_the_folder_of_the_models_is_a_flag(folder: Path) -> None:
    assert gathered(given("--cache-dir", "elsewhere")).local.cache_dir == "elsewhere"


def test_a_dialect_without_an_engine_makes_no_sense(folder: Path) -> None:
    with pytest.raises(SettingsError, match="there is no --engine"):
        gathered(given("--dialect", "vllm"))


def test_the_file_of_the_folder_is_found_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dragoman.toml").write_text('port = 1\n[[engines]]\nurl = "http://a"\n', encoding="utf-8")
    settings = gathered(given("--workers", "2"))
    assert (settings.port, settings.workers, settings.engines[0].url) == (1, 2, "http://a")
    assert capsys.readouterr().err == "dragoman: settings from ./dragoman.toml\n"


def test_a_file_that_is_named_wins_over_one_that_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dragoman.toml").write_text("port = 1\n", encoding="utf-8")
    Path("other.toml").write_text("port = 2\n", encoding="utf-8")
    assert gathered(given("--config", "other.toml")).port == 2
    assert capsys.readouterr().err == ""


# ---- sentences -----------------------------------------------------------------


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it cannot serve; fails where it is not one sentence and status 2."""
    assert main(["serve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *before, last = captured.err.splitlines()
    assert before in ([], ["starting the embedded engine"])
    assert last.startswith("dragoman: ")
    return last


def test_a_port_in_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = sentence(capsys, "--port", str(taken.getsockname()[1]))
    assert "the port is in use" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "there are no API keys"),
        (("--host", "no.such.host.invalid"), "there are no API keys"),
        (("--config", "none.toml"), "cannot read none.toml"),
        (("--engine", "127.0.0.1:80"), "`engines[0].url`"),
        (("--port", "0", "--model", "none.gguf"), "no model file at none.gguf"),
        (("--port", "0", "--model", "no-such-model"), "no-such-model"),
        (("--port", "0", "--model", "none.gguf", "--workers", "2"), "no model file at none.gguf"),
        (("--ray", "--port", "0", "--workers", "2"), "with --ray there are replicas instead"),
    ],
)
def test_what_cannot_be_served(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in sentence(capsys, *arguments)


@pytest.mark.parametrize("path", ["", "/v1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_engine_that_is_the_server_itself(
    folder: Path, capsys: pytest.CaptureFixture[str], host: str, path: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    url = f"http://{host}:{port}{path}"
    said = sentence(capsys, "--port", port, "--engine", url)
    assert f"the engine {url} is the address that this server listens on itself" in said


def test_an_address_that_is_not_ours(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_API_KEYS", '{"me": "k"}')
    assert "cannot listen on 192.0.2.1" in sentence(capsys, "--host", "192.0.2.1")


def test_an_interrupted_start_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("dragoman.cli.serve.run", interrupted)
    assert main(["serve"]) == 130


# ---- the banner -----------------------------------------------------------------


def shown(
    models: list[ModelCard], *, has_keys: bool = False, terminal: bool = False, embedded: bool = False
) -> str:
    """The banner as text."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60)
    banner.show(console, "http://127.0.0.1:8484", models, has_keys=has_keys, embedded=embedded)
    out = console.file
    assert isinstance(out, io.StringIO)
    return out.getvalue()


def test_the_banner_holds_lines_to_copy() -> None:
    said = shown([ModelCard(id="org/[model]", context_length=4096), ModelCard(id="other")])
    for line in (
        "models: org/[model], other",
        "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8484",
        "  export ANTHROPIC_AUTH_TOKEN=any-word",
        "  export ANTHROPIC_MODEL=org/[model]",
        "  export CLAUDE_CODE_MAX_CONTEXT_TOKENS=4096",
        "  export CLAUDE_CODE_MAX_OUTPUT_TOKENS=512",
        "  claude",
        '  client = anthropic.Anthropic(base_url="http://127.0.0.1:8484", api_key="any-word")',
        '  const client = new Anthropic({ baseURL: "http://127.0.0.1:8484", apiKey: "any-word" });',
    ):
        assert line in said.splitlines()
    assert "\x1b" not in said


def test_the_banner_without_models_and_with_keys() -> None:
    said = shown([], has_keys=True)
    assert "is up on http://127.0.0.1:8484, but no engine answers yet\nmodels: none yet\n" in said
    assert "ANTHROPIC_MODEL" not in said
    assert "ANTHROPIC_AUTH_TOKEN=YOUR-KEY" in said
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS" not in said


def test_a_roomy_context_leaves_the_length_of_answers_to_claude_code() -> None:
    said = shown([ModelCard(id="m", context_length=65536)])
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=65536" in said
    assert "CLAUDE_CODE_MAX_OUTPUT_TOKENS" not in said


def test_for_the_embedded_engine_the_short_prompt_is_named() -> None:
    assert "  claude --bare   # " in shown([ModelCard(id="m")], embedded=True)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[36m" in shown([], terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in shown([], terminal=True)
