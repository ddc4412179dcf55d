"""`dragoman models`: the embedded engine's models on this machine."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from dragoman.cli.pipes import print_out, write_out
from dragoman.cli.sources import settings_file
from dragoman.cli.terminal import drawn
from dragoman.errors import SettingsError
from dragoman.models import CatalogueModel, cache_folder, catalogue, find
from dragoman.models.memory import available_memory, recommended
from dragoman.models.progress import ConsoleReport
from dragoman.models.resolve import is_path
from dragoman.models.shelf import kept, pull, remove
from dragoman.settings import load_settings

_DESCRIPTION = """\
The models that the embedded engine knows by name, and those of them that are on this machine.
NAME is a model's name or its short name."""

_EPILOG = """\
examples:
  dragoman models ls                what there is, what is here, what this machine has memory for
  dragoman models pull 1.5b         fetches a model, or checks the one that is here
  dragoman models rm 1.5b           removes it, and what a cut fetch left of it"""


class Listed(msgspec.Struct, kw_only=True):
    """One model as `ls` tells it; sizes in bytes. partial: what is here of a fetch that was cut."""

    name: str
    short: str
    title: str
    licence: str
    size: int
    memory: int
    path: str | None
    partial: int
    default: bool
    recommended: bool


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    shape: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    about = "list, fetch and remove the embedded engine's models"
    command = commands.add_parser("models", help=about, description=_DESCRIPTION, epilog=_EPILOG, **shape)
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("ls", help="what there is, and what is here")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    listing.set_defaults(run=_list)
    fetching = actions.add_parser("pull", help="fetch a model, or check the one that is here")
    fetching.add_argument("name", nargs="?", default="", metavar="NAME", help="which one (the default one)")
    fetching.set_defaults(run=_pull)
    removal = actions.add_parser("rm", help="remove a model, and what a cut fetch left of it")
    removal.add_argument("name", metavar="NAME", help="which one")
    removal.set_defaults(run=_remove)
    for action in (listing, fetching, removal):
        action.add_argument("--cache-dir", metavar="FOLDER", help="where models are kept (the user's cache)")
        action.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")


def folder_of(arguments: argparse.Namespace) -> Path:
    """Where `dragoman serve` with the same settings keeps its models."""
    given = arguments.cache_dir
    flags = {} if given is None else {"local": {"cache_dir": given}}
    return cache_folder(load_settings(settings_file(arguments.config), flags=flags).local.cache_dir)


def listed(folder: Path, available: int | None) -> list[Listed]:
    """What `ls` tells, in the catalogue's order."""
    models = catalogue()
    best = recommended(available)
    return [_listed(model, folder, is_default=model is models[0], is_best=model is best) for model in models]


def _listed(model: CatalogueModel, folder: Path, *, is_default: bool, is_best: bool) -> Listed:
    here = kept(model, folder)
    return Listed(
        name=model.name,
        short=model.short,
        title=model.title,
        licence=model.licence,
        size=model.size,
        memory=model.memory,
        path=None if here.path is None else str(here.path),
        partial=here.partial,
        default=is_default,
        recommended=is_best,
    )


def _list(arguments: argparse.Namespace) -> int:
    folder = folder_of(arguments)
    available = available_memory()
    found = listed(folder, available)
    if arguments.json:
        return write_out(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    return print_out(drawn(lambda console: show(console, found, folder, available)))


def show(console: Console, found: list[Listed], folder: Path, available: int | None) -> None:
    """Prints the models, three lines each."""
    for model in found:
        marks = [("the default", model.default), ("recommended for this machine", model.recommended)]
        said = ", ".join(words for words, is_so in marks if is_so)
        head = Text.assemble((model.name, "bold"), f" ({model.short})", (f"  {said}" if said else "", "cyan"))
        console.print(head, soft_wrap=True)
        needs = f"{_size(model.size)}, takes {_size(model.memory)} of memory, {model.licence}"
        for line in (f"{model.title}: {needs}", _where(model)):
            console.print(f"  {line}", markup=False, soft_wrap=True)
        console.print()
    free = "" if available is None else f"; {_size(available)} of memory are free"
    console.print(f"Models are kept in {folder}{free}.", markup=False, soft_wrap=True)


def _where(model: Listed) -> str:
    if model.path is not None:
        return f"here: {model.path}"
    if model.partial:
        return f"not here, {_size(model.partial)} of it are fetched: dragoman models pull {model.short}"
    return f"not here: dragoman models pull {model.short}"


def _named(text: str) -> CatalogueModel:
    """The model of the catalogue; `SettingsError` for a file, which nobody fetches or keeps here."""
    if is_path(text):
        raise SettingsError(f"{text} is a file; dragoman models takes names of the catalogue")
    return find(text)


def _pull(arguments: argparse.Namespace) -> int:
    model = _named(arguments.name)
    path = asyncio.run(pull(model, folder_of(arguments), ConsoleReport()))
    return print_out(f"{model.name} is here and checked: {path}\n")


def _remove(arguments: argparse.Namespace) -> int:
    if not arguments.name.strip():
        # elsewhere no name means the default model, which nobody means to remove so
        raise SettingsError("NAME is empty; dragoman models rm takes the name of the model to remove")
    model = _named(arguments.name)
    size = remove(model, folder_of(arguments))
    return print_out(f"{model.name} is removed; {_size(size)} are free again\n")


def _size(number: int) -> str:
    """Bytes for people."""
    for unit, step in (("GB", 1e9), ("MB", 1e6)):
        if number >= step:
            return f"{number / step:.1f} {unit}" if unit == "GB" else f"{number / step:.0f} {unit}"
    return f"{number} bytes"
