"""The lines that a person types, with a history where the system has one."""

from __future__ import annotations

import importlib
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

FILE_NAME = "chat_history"
_MOST_LINES = 1000


def read_line(prompt: str) -> str:
    """One line, or several where all but the last end with a backslash; `EOFError` at the end."""
    lines = [_read(prompt)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(_read("… "))
    return "\n".join(lines)


def _read(prompt: str) -> str:
    if sys.stdout.isatty():
        return input(prompt)
    # what goes into a file or a pipe holds no prompts
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return input()


@contextmanager
def quiet_keys() -> Iterator[None]:
    """Shows no keys while an answer is drawn, which they would tear; they are there at the next prompt."""
    if not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    kept = termios.tcgetattr(terminal)
    quiet = [*kept[:3], kept[3] & ~termios.ECHO, *kept[4:]]
    termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, kept)


@contextmanager
def history(folder: Path) -> Iterator[None]:
    """Lets the arrow keys find what was typed before, now and in earlier conversations."""
    readline = _readline()
    if readline is None:
        yield
        return
    file = folder / FILE_NAME
    _load(readline, file)
    try:
        yield
    finally:
        _save(readline, file)


def _readline() -> ModuleType | None:
    try:
        return importlib.import_module("readline")
    except ImportError:
        return None


def _load(readline: ModuleType, file: Path) -> None:
    readline.clear_history()
    readline.set_history_length(_MOST_LINES)
    try:
        readline.read_history_file(file)
    except OSError:
        # none was kept yet, or it cannot be read: then it begins now
        return


def _save(readline: ModuleType, file: Path) -> None:
    """Keeps it for this user only: people type what is nobody's business."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.write_history_file(file)
        os.chmod(file, 0o600)  # noqa: PTH101 - the library may have made another file
    except OSError as error:
        print(f"dragoman: the history cannot be kept in {file}: {error.strerror}", file=sys.stderr)
