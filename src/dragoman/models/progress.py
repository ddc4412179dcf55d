"""How a download is told to the person who waits for it."""

from __future__ import annotations

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Report(Protocol):
    """What a fetch tells of itself; sizes in bytes."""

    def begin(self, title: str, total: int) -> None:
        """A file of `total` bytes is fetched."""

    def reached(self, done: int) -> None:
        """So many bytes are here now."""

    def note(self, text: str) -> None:
        """A sentence about what goes on."""

    def end(self) -> None:
        """The fetch or the wait is over, well or not."""

    def wait(self, title: str) -> None:
        """Something goes on whose length nobody knows; `end` ends it."""


class Silence:
    """A report that says nothing."""

    def begin(self, title: str, total: int) -> None:
        """Nothing."""

    def reached(self, done: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def wait(self, title: str) -> None:
        """Nothing."""


class ConsoleReport:
    """A progress bar on a terminal, else a line for each tenth; on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._title = ""
        self._total = 0
        self._tenths = 0

    def begin(self, title: str, total: int) -> None:
        """Shows the bar, or the first line."""
        self.end()
        self._title, self._total, self._tenths = title, total, 0
        if not self._console.is_terminal:
            self._say(f"fetching {title}, {total / 1e6:.0f} MB")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._bar = Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=self._console)
        self._task = self._bar.add_task(title, total=total)
        self._bar.start()

    def wait(self, title: str) -> None:
        """Shows a spinner with the time that passes, or one line."""
        self.end()
        if not self._console.is_terminal:
            self._say(title)
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task(title, total=None)
        self._bar.start()

    def reached(self, done: int) -> None:
        """Moves the bar, or writes a line at each tenth."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return
        tenths = done * 10 // max(self._total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            self._say(f"  {tenths * 10} % of {self._title}")

    def note(self, text: str) -> None:
        """Writes the sentence above the bar."""
        self._say(text)

    def end(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
