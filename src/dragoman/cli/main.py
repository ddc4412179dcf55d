"""The command `dragoman`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from dragoman import __version__
from dragoman.cli import chat, doctor, ledger, models, serve, translate
from dragoman.errors import DragomanError

_DESCRIPTION = "The Anthropic Messages API in front of any inference engine."
_EPILOG = "`dragoman COMMAND --help` describes a command. `dragoman serve` alone is a good start."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dragoman", description=_DESCRIPTION, epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"dragoman {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    top.set_defaults(run=partial(_help, top))
    for command in (serve, chat, models, translate, doctor, ledger):
        command.add_to(commands)
    return top


def _help(command: argparse.ArgumentParser, _arguments: argparse.Namespace) -> int:
    """What is said to who names no command; that nothing was done is the exit status."""
    command.print_help(sys.stderr)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status: 0 well, 1 the request is wrong, 2 something is not set up."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except DragomanError as error:
        print(f"dragoman: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status
