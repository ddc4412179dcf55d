"""The command's line, and the choice of a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from dragoman.cli.chat.client import ChatClient, ServerError
from dragoman.cli.chat.embedded import embedded_server
from dragoman.cli.chat.images import ImageError
from dragoman.cli.chat.prompt import history, read_line
from dragoman.cli.chat.screen import PlainScreen, TerminalScreen
from dragoman.cli.chat.session import Conversation, Options, Run, Session, proper
from dragoman.cli.pipes import OutputError, drop_output, forgive_letters, standard_input
from dragoman.cli.sources import settings_file
from dragoman.cli.terminal import harmless
from dragoman.errors import EngineUnavailableError, SettingsError
from dragoman.models import find
from dragoman.models.progress import ConsoleReport
from dragoman.models.resolve import is_path
from dragoman.settings import load_settings

USUAL = "http://127.0.0.1:8484"

_DESCRIPTION = """\
A conversation in the terminal, over the Messages API. Without --url (or ANTHROPIC_BASE_URL), with
the Dragoman on port 8484 of this machine, else with an engine that runs as long as it lasts."""

_EPILOG = """\
examples:
  dragoman chat                            the server of this machine, or the embedded engine
  dragoman chat --model 1.5b               a model of the catalogue
  dragoman chat --url http://gpu-0:8484    another server; any that speaks the Messages API
  echo "Say hello." | dragoman chat        one message, the answer as plain text

Keys come from ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or from --key, which other users of this
machine can read. /help inside the conversation lists its commands."""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    command = commands.add_parser(
        "chat",
        help="a conversation in the terminal",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--url", help="a server that speaks the Messages API")
    add("--key", help="its API key")
    add("--model", default="", help="which model (the first one that the server lists)")
    add("--system", default="", metavar="TEXT", help="the system prompt")
    add("--max-tokens", type=_positive, default=8192, metavar="N", help="the longest answer (8192)")
    add("--temperature", type=_temperature, metavar="T", help="from 0 to 1 (the server's own)")
    add("--no-thinking", action="store_true", help="ask the model not to think first")
    add(
        "--tools", type=Path, metavar="FILE", help="definitions of tools, a JSON list; you type their results"
    )
    add("--image", action="append", default=[], metavar="FILE", help="an image for the first message")
    add("--config", type=Path, metavar="FILE", help="settings as TOML, for the embedded engine")
    command.set_defaults(run=run)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("must be a number of 1 or more")
    return int(text)


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1")
    return number


def run(arguments: argparse.Namespace) -> int:
    """One conversation; 1 where a message from a pipe got no answer."""
    forgive_letters()
    tools = _tools(arguments.tools)
    file = settings_file(arguments.config)
    try:
        with asyncio.Runner() as runner, _server(arguments, file, runner.run) as client:
            try:
                options = Options(
                    model=_model(arguments.model, client, runner.run),
                    max_tokens=arguments.max_tokens,
                    system=proper(arguments.system),
                    thinking=not arguments.no_thinking,
                    temperature=arguments.temperature,
                    tools=tools,
                )
                state = load_settings(file).state_path
                conversation = Conversation(client, PlainScreen(sys.stdout), runner.run, options)
                return _converse(conversation, arguments.image, state)
            finally:
                runner.run(client.aclose())
    except BrokenPipeError:
        drop_output()
        return 1
    except OutputError as error:
        drop_output()
        print(f"dragoman: {error}", file=sys.stderr)
        return 2
    except (ServerError, ImageError) as error:
        print(f"dragoman: {harmless(str(error))}", file=sys.stderr)
        return 1


def _converse(conversation: Conversation, images: list[str], state: Path) -> int:
    """At a terminal the conversation goes on until the person ends it; a pipe holds one message."""
    for path in images:
        conversation.attach(path)
    if sys.stdin is None or not sys.stdin.isatty():
        text = _message()
        return 0 if conversation.say(conversation.compose(text, mentions=False)) else 1
    if sys.stdout.isatty():
        conversation.screen = TerminalScreen(Console(highlight=False))
    with history(state):
        Session(conversation, read_line).loop()
    return 0


def _message() -> str:
    """All of standard input."""
    try:
        text = standard_input().decode().strip()
    except UnicodeDecodeError as error:
        raise SettingsError(f"standard input is no text in UTF-8: {error.reason}") from error
    if not text:
        raise SettingsError("there is no message on standard input")
    return text


@contextmanager
def _server(arguments: argparse.Namespace, file: Path | None, run: Run) -> Iterator[ChatClient]:
    """The server to speak with: the one that is named, that of this machine, or one of our own."""
    url = arguments.url or os.environ.get("ANTHROPIC_BASE_URL")
    client = ChatClient(url or USUAL, keys(arguments.key, os.environ))
    if url or run(_serves(client, arguments.model)):
        yield client
        return
    run(client.aclose())
    flags = {"model": arguments.model} if arguments.model else {}
    with embedded_server(file, flags, ConsoleReport()) as (own, key):
        yield ChatClient(own, keys(key, {}))


async def _serves(client: ChatClient, model: str) -> bool:
    """Whether a Dragoman answers there, and has the model that is asked for, if the catalogue knows it."""
    if is_path(model) or not await client.is_dragoman():
        return False
    name = full_name(model)
    return not model or name == "" or name in await _listed(client)


async def _listed(client: ChatClient) -> list[str]:
    """The names of the server's models, none where it has no such list."""
    try:
        return await client.models()
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return []


def full_name(model: str) -> str:
    """The catalogue's name of a model, "" for one that it does not know."""
    try:
        return find(model).name
    except EngineUnavailableError:
        return ""


def _model(wanted: str, client: ChatClient, run: Run) -> str:
    """The model to ask for: a name of the server, where it lists any."""
    if wanted and not is_path(wanted) and not full_name(wanted):
        return wanted
    names = run(_listed(client))
    if not wanted or is_path(wanted):
        if not names:
            raise ServerError(f"{client.url} lists no model; --model names one")
        return names[0]
    return wanted if wanted in names else full_name(wanted)


def keys(given: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that open a server's door, as the official SDKs send them."""
    key = given or environ.get("ANTHROPIC_API_KEY")
    token = None if given else environ.get("ANTHROPIC_AUTH_TOKEN")
    headers = {"x-api-key": key, "authorization": token and f"Bearer {token}"}
    for value in headers.values():
        if value and not (value.isascii() and value.isprintable()):
            raise SettingsError("the API key holds what no header can")
    return {name: value for name, value in headers.items() if value}


def _tools(file: Path | None) -> tuple[msgspec.Raw, ...]:
    if file is None:
        return ()
    try:
        data = file.read_bytes()
        # what is kept raw is not looked into, so it is read once before
        msgspec.json.decode(data)
        return msgspec.json.decode(data, type=tuple[msgspec.Raw, ...])
    except OSError as error:
        raise SettingsError(f"--tools: cannot read {file}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"--tools: {file} holds no JSON list of tools: {error}") from error
