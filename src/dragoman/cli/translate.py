"""`dragoman translate`: what an engine would get for a Messages request."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from dragoman.cli.pipes import standard_input, write_out
from dragoman.cli.sources import settings_file
from dragoman.content.resolver import ContentResolver
from dragoman.engines.dialects import DIALECTS
from dragoman.engines.llamacpp.aids import first_request
from dragoman.errors import InvalidRequestError, NotFoundError, NotSupportedError, SettingsError
from dragoman.models import CatalogueModel, find
from dragoman.models.resolve import is_path
from dragoman.server.ids import new_id
from dragoman.service.editing import edited
from dragoman.settings import Settings, load_settings
from dragoman.store.interface import FileContent
from dragoman.translate.options import RequestOptions
from dragoman.translate.request import to_chat
from dragoman.translate.signature import OpenedThinking
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.anthropic.errors import encode_error
from dragoman.wire.anthropic.request import MessagesRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller

_DESCRIPTION = """\
Reads a Messages request and prints the Chat Completions request that an engine would get: one
that can do everything, or with --model the embedded one. Files of a server are not there.
A request that cannot be translated is answered as the server would answer it: with the
error's JSON, on standard error, and exit status 1."""

# An engine of which nothing is known but that it can do all that a request may ask for.
_ABLE = EngineCapabilities(images=True, reasoning=True, reasoning_switch=True, continuation=True)
# The embedded engine with a model of the catalogue: none of them sees.
_EMBEDDED = msgspec.structs.replace(_ABLE, images=False)


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
    command.add_argument("--dialect", choices=list(DIALECTS), help="how the engine spells it (generic)")
    command.add_argument(
        "--model", help="for the embedded engine with this model of the catalogue: with its prompt aids"
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as TOML; with --model, local.prompt_aids counts"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the translation, or why there is none."""
    dialect, served = _target(arguments)
    try:
        body = standard_input() if arguments.file == "-" else Path(arguments.file).read_bytes()
    except OSError as error:
        print(f"dragoman: cannot read {arguments.file}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        written = translated(body, dialect, served)
    except (InvalidRequestError, NotFoundError) as error:
        print(encode_error(error, new_id("req")).decode(), file=sys.stderr)
        return 1
    return write_out(msgspec.json.format(written, indent=2) + b"\n")


async def _no_count(_: object) -> int:
    """No engine is asked here, so the context edits go by an estimate."""
    raise NotSupportedError("nothing counts here")


def _target(arguments: argparse.Namespace) -> tuple[str, CatalogueModel | None]:
    """The dialect, and the model of the catalogue where one is named."""
    if arguments.model is None:
        return arguments.dialect or "generic", None
    if arguments.dialect not in {None, "llamacpp"}:
        raise SettingsError("--model names a model of the embedded engine, whose dialect is llamacpp")
    if is_path(arguments.model):
        raise SettingsError(
            "--model takes a name of the catalogue here; a model given by its path has no prompt aids: "
            "--dialect llamacpp shows what it gets"
        )
    served = find(arguments.model)
    settings = load_settings(settings_file(arguments.config))
    # what the server would be told not to add is not shown
    return "llamacpp", served if settings.local.prompt_aids else msgspec.structs.replace(served, aids=None)


async def _no_file(file_id: str, _scope: str) -> FileContent:
    raise NotFoundError(f"{file_id!r} is a file of a server, and here is none")


async def _prepared(request: MessagesRequest, capabilities: EngineCapabilities) -> MessagesRequest:
    """The request with its PDF pages, after its edits; files and addresses are a server's business."""
    resolver = ContentResolver(Settings(), read_file=_no_file)
    try:
        resolved = await resolver(request, Caller(request_id=""), capabilities)
        found: MessagesRequest = (await edited(resolved, _no_count)).request
        return found
    finally:
        await resolver.aclose()


def translated(body: bytes, dialect: str, served: CatalogueModel | None = None) -> bytes:
    """The engine's request for a Messages request's body; thinking with a signature is taken at its word.

    With a served model it is the first request of the embedded engine, prompt aids included.
    """
    capabilities = _ABLE if served is None else _EMBEDDED
    request = asyncio.run(_prepared(decode_messages(body), capabilities))
    options = RequestOptions(
        model=request.model if served is None else served.name,
        capabilities=capabilities,
        open_thinking=lambda _signature, thinking: OpenedThinking("foreign", thinking),
        spelling=lambda _call_id: None,
    )
    chat = to_chat(request, options).chat
    if served is not None and served.aids is not None:
        chat = first_request(chat, served.aids)
    return DIALECTS[dialect]().write(chat, capabilities, stream=bool(request.stream))
