"""Every code block of the docs: executed against a server on loopback, or marked with the reason why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman.cli.banner import claude_code
from dragoman.engines.scripted import Script, ScriptedInferenceEngine, answer
from dragoman.models import catalogue
from dragoman.settings import load_settings
from dragoman.wire.openai import ChatRequest, ModelCard
from tests.docs.snippets import Snippet, all_snippets
from tests.support.claude_code import QUIET, claude_binary
from tests.support.serving import running_server

DOCUMENTED = "http://127.0.0.1:8484"
READ_ONLY = {"toml", "mermaid", "text", ""}
SNIPPETS = all_snippets()


def of_language(*languages: str) -> pytest.MarkDecorator:
    """The blocks in some languages that are to be executed, as a test's parameter."""
    chosen = [snippet for snippet in SNIPPETS if snippet.language in languages and not snippet.reason]
    return pytest.mark.parametrize("snippet", chosen, ids=lambda snippet: snippet.place)


def spoken(request: ChatRequest) -> Script:
    """What a model would say: a person where a schema asks for one, one call for the weather, a greeting."""
    if request.response_format is not None:
        return answer('{"name": "Ada", "age": 36}')
    names = [tool.function.name for tool in request.tools]
    if "get_weather" in names and request.messages[-1].role == "user":
        return answer("", calls=[("get_weather", '{"city": "Oslo"}')])
    return answer("Hello from the script.")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server whose engine speaks as above, and has the default model's name."""
    engine = ScriptedInferenceEngine(spoken, models=(catalogue()[0].name,))
    with running_server(engine) as url:
        yield url


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The surroundings of somebody who has installed Dragoman and Claude Code, and nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(claude_binary())
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.defpath])
    return {"HOME": str(tmp_path), "PATH": path, "LANG": "C.UTF-8", **QUIET}


def executed(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """What a snippet printed; fails the test with its words when it ends badly."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@of_language("python")
def test_python_runs(snippet: Snippet, address: str, environment: dict[str, str], tmp_path: Path) -> None:
    code = snippet.code.replace(DOCUMENTED, address)
    printed = executed([sys.executable, "-W", "error", "-c", code], environment, tmp_path)
    assert ("print(" in code) == bool(printed.strip())


def test_a_mounted_app_answers_and_closes_its_engines(environment: dict[str, str], tmp_path: Path) -> None:
    (snippet,) = (s for s in SNIPPETS if s.place.startswith("docs/server.md") and "Mount(" in s.code)
    (tmp_path / "app.py").write_text(snippet.code, encoding="utf-8")
    script = """
from starlette.testclient import TestClient
from app import app, llm
with TestClient(app, base_url="http://localhost") as client:
    assert llm.service.client.is_started
    print(client.get("/llm/ready").status_code, client.get("/llm/v1/models").status_code)
assert not llm.service.client.is_started
"""
    assert executed([sys.executable, "-c", script], environment, tmp_path) == "503 200\n"


@of_language("bash", "sh", "console")
def test_bash_runs(snippet: Snippet, address: str, environment: dict[str, str], tmp_path: Path) -> None:
    code = snippet.code.replace(DOCUMENTED, address)
    printed = executed(["bash", "-euo", "pipefail", "-c", code], environment, tmp_path)
    assert printed.strip()
    assert '"type":"error"' not in printed.replace(" ", "")


@of_language("toml")
def test_settings_files_load(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "dragoman.toml"
    file.write_text(snippet.code, encoding="utf-8")
    assert load_settings(file, environ={}) != load_settings(None, environ={})


def test_blocks_that_are_not_run_say_why() -> None:
    run = {"python", "bash", "sh", "console"} | READ_ONLY
    assert [s.place for s in SNIPPETS if s.language not in run and not s.reason] == []
    assert [s.place for s in SNIPPETS if s.reason and len(s.reason.split()) < 4] == []


def test_the_readme_shows_the_lines_that_serve_prints() -> None:
    card = ModelCard(id=catalogue()[0].name, context_length=32768)
    exports = [f"export {name}={value}" for name, value in claude_code(DOCUMENTED, card, "any-word").items()]
    (shown,) = (s.code for s in SNIPPETS if s.place.startswith("README") and exports[0] in s.code)
    assert shown.splitlines()[:-1] == exports


def test_the_docs_show_something_of_each_kind() -> None:
    assert {"python", "bash", "toml"} <= {snippet.language for snippet in SNIPPETS if not snippet.reason}
