"""`dragoman ledger`: what was recorded, in the terminal."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dragoman.cli.pipes import print_out, write_out
from dragoman.cli.sources import settings_file
from dragoman.cli.terminal import drawn, harmless_line
from dragoman.errors import SettingsError
from dragoman.ledger.confirmation import doubt
from dragoman.ledger.export.chains import chains_by_prefix
from dragoman.ledger.export.rows import write_jsonl, write_parquet
from dragoman.ledger.export.stitch import Stitched, stitch
from dragoman.ledger.interface import Summary
from dragoman.ledger.schema import FILE_NAME
from dragoman.ledger.store import SQLiteLedger
from dragoman.ledger.values import Session, Turn
from dragoman.settings import load_settings

Found = TypeVar("Found")
_PAGE = 500

_DESCRIPTION = """\
What `dragoman serve --ledger FOLDER` recorded. It may be read while the server runs."""

_EPILOG = """\
examples:
  dragoman ledger ls ./ledger               sessions, the last changed first
  dragoman ledger show ./ledger SESSION     the turns of one: class, tokens, where they went on, drift
  dragoman ledger export ./ledger --output rows.jsonl    rows for a trainer
  dragoman ledger verify ./ledger           whether all of it can be read"""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    shape: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    about = "show and check what was recorded"
    command = commands.add_parser("ledger", help=about, description=_DESCRIPTION, epilog=_EPILOG, **shape)
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("ls", help="the sessions, the last changed first")
    listing.add_argument("--limit", type=int, default=50, help="how many (50)")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", help="the turns of a session")
    showing.add_argument("--scope", default="", help='the name of its API key ("rollout" for a trainer\'s)')
    showing.set_defaults(run=_show)
    exporting = actions.add_parser("export", help="rows for a trainer, in a file")
    exporting.add_argument("--scope", default="rollout", help='the name of its API key ("rollout")')
    exporting.add_argument("--output", type=Path, required=True, metavar="FILE", help=".jsonl or .parquet")
    exporting.set_defaults(run=_export)
    checking = actions.add_parser("verify", help="reads all of it; exit status 1 where something is broken")
    checking.set_defaults(run=_verify)
    for action in (listing, showing, exporting, checking):
        action.add_argument(
            "folder", nargs="?", default="", help="where it is kept (the setting ledger.path)"
        )
        action.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
        action.add_argument("--json", action="store_true", help="as JSON, for programs")
    showing.add_argument("session", help="its name")
    exporting.add_argument("sessions", nargs="*", metavar="SESSION", help="their names (all of the scope)")


def _read(arguments: argparse.Namespace, work: Callable[[SQLiteLedger], Awaitable[Found]]) -> Found:
    """What `work` finds in the ledger; `SettingsError` where there is none."""
    folder = arguments.folder or load_settings(settings_file(arguments.config)).ledger.path
    if not folder:
        raise SettingsError("no folder is named, and the setting ledger.path is empty")
    path = Path(folder).expanduser()
    if not (path / FILE_NAME).is_file():
        raise SettingsError(f"there is no ledger in {path}")

    async def read() -> Found:
        store = SQLiteLedger(path)
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(read())


def _list(arguments: argparse.Namespace) -> int:
    found = _read(arguments, lambda store: store.sessions(limit=max(1, arguments.limit)))
    if arguments.json:
        return write_out(_lines(found))
    return print_out(drawn(lambda console: show_sessions(console, found)))


def show_sessions(console: Console, found: list[Summary]) -> None:
    """Prints a table of sessions."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (("session", False), ("scope", False), ("turns", True), ("tokens", True)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for name in ("changed", "state"):
        table.add_column(name)
    for one in found:
        session = one.session
        state = Text(session.state) if not session.incomplete else Text("incomplete", style="red")
        names = [Text(harmless_line(name)) for name in (session.id, session.scope)]
        table.add_row(*names, f"{one.turns}", f"{one.tokens}", _moment(one.changed), state)
    console.print(table)


def _show(arguments: argparse.Namespace) -> int:
    turns = _read(arguments, lambda store: store.turns(arguments.scope, arguments.session))
    if not turns:
        raise SettingsError(
            f"there is no session {arguments.session!r} of the scope {arguments.scope!r}; "
            "dragoman ledger ls has their names and scopes"
        )
    if arguments.json:
        return write_out(_lines(turns))
    return print_out(drawn(lambda console: show_turns(console, turns)))


def show_turns(console: Console, turns: list[Turn]) -> None:
    """Prints a table of turns: `on from` is the turn whose tokens the prompt begins with."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("turn", overflow="fold")
    for name in ("state", "prompt", "carried", "sampled", "on from", "drift", "trained"):
        table.add_column(name, justify="right" if name in {"prompt", "carried", "sampled"} else "left")
    for turn in turns:
        last = turn.samples[-1] if turn.samples else None
        why = turn.why_untrainable()
        table.add_row(
            Text(harmless_line(turn.id)),
            turn.state if turn.delivered or turn.state != "done" else "not delivered",
            f"{turn.prompt_tokens}",
            "" if last is None else f"{last.carried}",
            "" if last is None else f"{len(last.sampled_ids)}",
            Text("" if last is None else harmless_line(last.base)),
            "" if last is None or last.drift is None else f"{last.drift.cause} at {last.drift.at}",
            Text("yes") if not why else Text(f"no: {why}", style="yellow"),
        )
    console.print(table)


def _export(arguments: argparse.Namespace) -> int:
    writers = {".jsonl": write_jsonl, ".parquet": write_parquet}
    writer = writers.get(arguments.output.suffix)
    if writer is None:
        raise SettingsError("--output must end in .jsonl or .parquet")
    found = _read(arguments, lambda store: _stitched(store, arguments.scope, arguments.sessions))
    count = writer(arguments.output, [row for one in found for row in one.rows])
    left_out = [why for one in found for why in one.left_out.values()]
    if arguments.json:
        told = {"sessions": len(found), "rows": count, "left_out": Counter(left_out)}
        return write_out(msgspec.json.encode(told) + b"\n")
    lines = [f"{count} rows of {len(found)} sessions are in {arguments.output}"]
    lines += [f"left out: {number} turns: {why}" for why, number in Counter(left_out).most_common()]
    return print_out("".join(f"{line}\n" for line in lines))


async def _stitched(store: SQLiteLedger, scope: str, names: list[str]) -> list[Stitched]:
    """The rows of sessions: those that are named, or all of a scope, the oldest first."""
    if not names:
        listed = await _all_of(store, scope)
    else:
        named = [(name, await store.session(scope, name)) for name in names]
        missing = [name for name, session in named if session is None]
        if missing:
            raise SettingsError(f"there is no session {missing[0]!r} of the scope {scope!r}")
        listed = [session for _, session in named if session is not None]
    return [await _rows_of(store, session) for session in listed]


async def _rows_of(store: SQLiteLedger, session: Session) -> Stitched:
    turns = await store.turns(session.scope, session.id)
    return stitch(session, chains_by_prefix(turns), why_not=doubt(turns))


async def _all_of(store: SQLiteLedger, scope: str) -> list[Session]:
    found: list[Session] = []
    before = None
    while page := await store.sessions(before=before, limit=_PAGE):
        found += [one.session for one in page if one.session.scope == scope]
        before = page[-1].changed
    return found[::-1]


def _verify(arguments: argparse.Namespace) -> int:
    found = _read(arguments, lambda store: store.verify())
    if arguments.json:
        written = write_out(msgspec.json.encode({"findings": found}) + b"\n")
    else:
        written = print_out("".join(f"{line}\n" for line in found) or "all of it can be read\n")
    return written or int(bool(found))


def _lines(values: list[Summary] | list[Turn]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
