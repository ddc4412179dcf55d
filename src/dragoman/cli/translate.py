"""`dragoman translate`: what an engine would get for a Messages request."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from dragoman.cli.pipes import standard_input, write_out
from dragoman.engines.dialects import DIALECTS
from dragoman.errors import InvalidRequestError
from dragoman.server.ids import new_id
from dragoman.translate.options import RequestOptions
from dragoman.translate.request import to_chat
from dragoman.translate.signature import OpenedThinking
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.anthropic.errors import encode_error
from dragoman.wire.capabilities import EngineCapabilities

_DESCRIPTION = """\
Reads a Messages request and prints the Chat Completions request that an engine would get.
A request that cannot be translated is answered as the server would answer it: with the
error's JSON, on standard error, and exit status 1."""

# An engine of which nothing is known but that it can do all that a request may ask for.
_ABLE = EngineCapabilities(images=True, reasoning=True, reasoning_switch=True, continuation=True)


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    command = commands.add_parser(
        "translate",
        help="a Messages request in, the Chat Completions request out",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="the request's JSON; - or nothing: standard input",
    )
    command.add_argument(
        "--dialect", choices=list(DIALECTS), default="generic", help="how the engine spells it (generic)"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the translation, or why there is none."""
    try:
        body = standard_input() if arguments.file == "-" else Path(arguments.file).read_bytes()
    except OSError as error:
        print(f"dragoman: cannot read {arguments.file}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        written = translated(body, arguments.dialect)
    except InvalidRequestError as error:
        print(encode_error(error, new_id("req")).decode(), file=sys.stderr)
        return 1
    return write_out(msgspec.json.format(written, indent=2) + b"\n")


def translated(body: bytes, dialect: str) -> bytes:
    """The engine's request for a Messages request's body; thinking with a signature is taken at its word."""
    request = decode_messages(body)
    options = RequestOptions(
        model=request.model,
        capabilities=_ABLE,
        open_thinking=lambda _signature, thinking: OpenedThinking("foreign", thinking),
        spelling=lambda _call_id: None,
    )
    chat = to_chat(request, options).chat
    return DIALECTS[dialect]().write(chat, _ABLE, stream=bool(request.stream))
