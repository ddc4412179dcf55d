"""Conversations with servers on loopback, and the screens on which they can be read."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dragoman.cli.chat import command
from dragoman.cli.chat.client import ChatClient
from dragoman.cli.chat.screen import TerminalScreen
from dragoman.cli.chat.session import Conversation, Options, Session
from dragoman.engines.scripted import ScriptedInferenceEngine, Scripts
from tests.support.fake_openai import Answer, FakeOpenAI, event
from tests.support.serving import running_server

SSE = "text/event-stream"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a folder of one's own, no keys, and nobody on the usual port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "USUAL", "http://127.0.0.1:9")


class Talk:
    """A conversation at a pretended terminal: what is typed comes from a list, what is shown is kept."""

    def __init__(self, runner: asyncio.Runner, url: str, **options: Any) -> None:
        self.client = ChatClient(url, {"x-api-key": "any"})
        self._text = io.StringIO()
        self.screen = TerminalScreen(Console(file=self._text, width=72, height=20, highlight=False))
        options = {"model": "m", **options}
        self.conversation = Conversation(self.client, self.screen, runner.run, Options(**options))
        self.prompts: list[str] = []
        self.fake: FakeOpenAI | None = None

    @property
    def asked(self) -> list[Any]:
        """The bodies of the requests that a server of `odd` got."""
        assert self.fake is not None
        return [seen.json for seen in self.fake.seen if seen.path == "/v1/messages"]

    @property
    def shown(self) -> str:
        """All that the person has read."""
        return self._text.getvalue()

    @property
    def lines(self) -> list[str]:
        """The lines of it that are not empty."""
        return [line.rstrip() for line in self.shown.splitlines() if line.strip()]

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The conversation as the next request holds it."""
        return self.conversation.messages

    def types(self, *lines: str) -> None:
        """The person types these lines, and then ends the conversation."""
        typed = iter(lines)

        def read(prompt: str) -> str:
            self.prompts.append(prompt)
            line = next(typed, None)
            if line is None:
                raise EOFError
            return line

        Session(self.conversation, read).loop()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop of the conversation's requests."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def talk(runner: asyncio.Runner) -> Iterator[Callable[..., Talk]]:
    """Starts conversations with Dragoman over scripts: `talk(scripts, **options)`."""
    with ExitStack() as stack:

        def start(scripts: Scripts, **options: Any) -> Talk:
            engine = ScriptedInferenceEngine(scripts, models=("m",))
            made = Talk(runner, stack.enter_context(running_server(engine)), **options)
            stack.callback(lambda: runner.run(made.client.aclose()))
            return made

        yield start


@pytest.fixture
def odd(runner: asyncio.Runner) -> Iterator[Callable[..., Talk]]:
    """Starts conversations with a server that answers exactly so: `odd(answer, ...)`."""
    with ExitStack() as stack:

        def start(*answers: Answer, **options: Any) -> Talk:
            queue = list(answers)
            server = FakeOpenAI({"/v1/messages": lambda _seen: queue.pop(0)})
            runner.run(server.start())
            stack.callback(lambda: runner.run(server.stop()))
            made = Talk(runner, server.url, **options)
            made.fake = server
            stack.callback(lambda: runner.run(made.client.aclose()))
            return made

        yield start


def stream(*values: Any, names: bool = True) -> Answer:
    """A stream of the Messages API, one write each; what is no table is written as it stands."""
    pieces = []
    for value in values:
        named = names and isinstance(value, dict) and "type" in value
        head = b"event: %b\n" % value["type"].encode() if named else b""
        pieces.append(head + event(value) if isinstance(value, dict | str) else value)
    return Answer(content_type=SSE, pieces=pieces)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one content block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(said: str, index: int = 0) -> list[dict[str, Any]]:
    """The events of a text block."""
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": said})


def end(reason: str = "end_turn", tokens: int = 3) -> list[dict[str, Any]]:
    """The last events of an answer."""
    usage = {"output_tokens": tokens, "input_tokens": None}
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
        {"type": "message_stop"},
    ]


START: dict[str, Any] = {"type": "message_start", "message": {"usage": {"input_tokens": 7}}}
