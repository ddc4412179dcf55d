"""`dragoman chat` at a true terminal: the real command, keys, and llama.cpp."""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from dragoman.engines.scripted import Hang, Script, ScriptedInferenceEngine, answer, text_chunk
from tests.support.dialogues import PARROT as FOLDER
from tests.support.dialogues import dialogues
from tests.support.serving import running_server

PARROT = FOLDER / "parrot.gguf"

# The terminal becomes that of the command, so that keys like Ctrl-C reach it as signals.
_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """The real command at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.said = ""
        self._awaited = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._keyboard, inside = pty.openpty()
        program = [sys.executable, "-m", "dragoman", "chat", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *program],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)

    def await_text(self, words: str, seconds: float = 60.0) -> None:
        """Reads until these words have been shown after those awaited before."""
        until = time.monotonic() + seconds
        while (found := self.said.find(words, self._awaited)) < 0 and time.monotonic() < until:
            if select.select([self._keyboard], [], [], 0.2)[0] and not self._read():
                break
        assert found >= 0, f"{words!r} was not shown: {self.said}"
        self._awaited = found + len(words)

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._keyboard, text.encode())

    def _read(self) -> bool:
        try:
            piece = os.read(self._keyboard, 65536)
        except OSError:
            # what Linux says when the other side is closed
            piece = b""
        # a read may end inside a character
        self.said += self._decoder.decode(piece)
        return bool(piece)

    def ended_by(self, key: str) -> int:
        """The exit status, when this key has ended the command.

        It is pressed again, as a person would: readline may miss a signal that comes just before it waits.
        """
        self.type(key)
        while True:
            if not select.select([self._keyboard], [], [], 2)[0]:
                self.type(key)
            elif not self._read():
                return self.process.wait(30)

    def close(self) -> None:
        """Ends what still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    """Starts the command at a terminal; what still runs at the end is killed."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.engine
def test_a_conversation_at_a_true_terminal_with_llama_cpp(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    known = dialogues()["result-Paris"].tools or []
    tools = [msgspec.json.decode(tool)["function"] for tool in known]
    spelled = [{"name": tool["name"], "input_schema": tool["parameters"]} for tool in tools]
    Path("tools.json").write_bytes(msgspec.json.encode(spelled))
    person = terminal("--model", str(PARROT), "--temperature", "0", "--tools", "tools.json")
    person.await_text("/help lists the commands")
    person.await_text("> ")
    person.type("Say hello.\r")
    person.await_text("Hello! How can I help you today?")
    person.await_text("written")
    person.type("What is the weather in Paris?\r")
    person.await_text("result of get_weather")
    person.type("21 degrees\r")
    person.await_text("It is 21 degrees in Paris.")
    person.await_text("> ")
    assert person.ended_by("\x04") == 0
    assert "\x1b[2;3m" in person.said
    assert "Traceback" not in person.said
    kept = (tmp_path / "state" / "dragoman" / "chat_history").read_text(encoding="utf-8")
    assert "Say hello." in kept.splitlines()


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(terminal: Callable[..., Terminal]) -> None:
    engine = ScriptedInferenceEngine([Script(steps=[text_chunk("la la la"), Hang()]), answer("Hello again.")])
    with running_server(engine) as url:
        person = terminal("--url", url)
        person.await_text("> ")
        person.type("Sing for ever.\r")
        person.await_text("la la la")
        person.type("\x03")
        person.await_text("Stopped.")
        person.await_text("> ")
        person.type("Say hello.\r")
        person.await_text("Hello again.")
        person.await_text("> ")
        assert person.ended_by("\x03") == 0
    assert "Traceback" not in person.said
    assert [call.outcome for call in engine.calls] == ["cancelled", "finished"]


def test_lines_that_go_on_and_earlier_ones(terminal: Callable[..., Terminal]) -> None:
    engine = ScriptedInferenceEngine({"": answer("Yes.")})
    with running_server(engine) as url:
        first = terminal("--url", url)
        first.await_text("> ")
        first.type("one \\\r")
        first.await_text("… ")
        first.type("two\r")
        first.await_text("written")
        assert first.ended_by("/quit\r") == 0
        second = terminal("--url", url)
        second.await_text("> ")
        second.type("\x1b[A\x1b[A\r")
        second.await_text("written")
        second.await_text("> ")
        assert second.ended_by("\x03") == 0
    assert [call.request.messages[-1].content for call in engine.calls] == ["one \ntwo", "two"]


def test_a_terminal_that_writes_into_a_file_gets_plain_text(tmp_path: Path) -> None:
    engine = ScriptedInferenceEngine({"": answer("**Yes**.")})
    keyboard, terminal_end = pty.openpty()
    with running_server(engine) as url:
        program = [sys.executable, "-m", "dragoman", "chat", "--url", url]
        with subprocess.Popen(
            program, stdin=terminal_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(keyboard, b"hello\n/quit\n")
            out, errors = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal_end)
    assert process.returncode == 0
    assert out == "**Yes**.\n"
    assert errors == "> > "
