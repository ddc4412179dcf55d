"""What a person sees of an answer: on a terminal as it grows, elsewhere as plain text."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from dragoman.cli.chat.answer import BlockEnd, Call, CallBegun, Shown, Thought, Words
from dragoman.cli.chat.flow import Flow, MarkdownFlow, ThoughtFlow
from dragoman.cli.chat.prompt import quiet_keys
from dragoman.cli.pipes import OutputError
from dragoman.cli.terminal import harmless


class Screen(Protocol):
    """Where a conversation is shown."""

    def answering(self) -> AbstractContextManager[None]:
        """A context in which an answer arrives."""

    def show(self, shown: Shown) -> None:
        """One piece of the answer."""

    def tick(self) -> None:
        """Time passes: what moves is drawn again."""

    def note(self, text: str) -> None:
        """A sentence of this program."""

    def error(self, text: str) -> None:
        """What went wrong, in a line."""


class PlainScreen:
    """The words of the answer and nothing else, for pipes and files; notes and errors go to `errors`."""

    def __init__(self, out: TextIO, errors: TextIO | None = None) -> None:
        self._out = out
        self._errors = errors or sys.stderr
        self._clean = harmless if out.isatty() else str
        self._ends_line = True

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Ends the last line of an answer."""
        try:
            yield
        finally:
            self._end_line()

    def show(self, shown: Shown) -> None:
        """Writes words at once, and a call on a line of its own."""
        if isinstance(shown, Words):
            self._write(shown.text)
        elif isinstance(shown, Call):
            self._end_line()
            self._write(f"{shown.name} {shown.arguments}\n")

    def tick(self) -> None:
        """Nothing moves here."""

    def note(self, text: str) -> None:
        """Nothing: whoever reads a pipe wants the answer."""

    def error(self, text: str) -> None:
        """A line on standard error."""
        print(f"dragoman: {harmless(text)}", file=self._errors)

    def _end_line(self) -> None:
        if not self._ends_line:
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(self._clean(text))
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from error
        self._ends_line = text.endswith("\n")


class TerminalScreen:
    """Markdown that grows, thinking dimmed, calls by name and arguments.

    What is finished is printed for good and scrolls away; only the block that still grows is drawn again.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._flow: Flow | None = None
        self._live: Live | None = None
        self._busy = ""
        self._since = 0.0
        self._spinner = Spinner("dots")

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Shows that something goes on until the answer is there."""
        self._busy, self._since = "waiting for the model", time.monotonic()
        self.console.print()
        # drawn at our own ticks: a thread that draws meanwhile would count lines that this one just printed
        live = Live(get_renderable=self._current, console=self.console, transient=True, auto_refresh=False)
        with quiet_keys(), live:
            self._live = live
            try:
                yield
            finally:
                self._finish()
                self._busy = ""
                self._live = None

    def tick(self) -> None:
        """Draws what grows or waits."""
        if self._live is not None:
            self._live.refresh()

    def show(self, shown: Shown) -> None:
        """One piece of the answer."""
        if isinstance(shown, Words):
            self._grow(MarkdownFlow, shown.text)
        elif isinstance(shown, Thought):
            self._grow(ThoughtFlow, shown.text)
        elif isinstance(shown, CallBegun):
            self._finish()
            self._busy = f"calling {harmless(shown.name)}"
        elif isinstance(shown, Call):
            self._finish()
            self.console.print(called(shown, self.console.width))
            self.console.print()
        elif isinstance(shown, BlockEnd):
            self._finish()
            if shown.type not in {"text", "thinking"}:
                self.note(f"[{harmless(shown.type)}]")

    def note(self, text: str) -> None:
        """A dim line."""
        self.console.print(Text(harmless(text), style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        """A red line."""
        self.console.print(Text(harmless(text), style="red"), soft_wrap=True)

    def _grow(self, kind: type[Flow], text: str) -> None:
        if type(self._flow) is not kind:
            self._finish()
            self._flow = kind()
        self._flow.add(harmless(text))
        self._print(self._flow.finished())

    def _finish(self) -> None:
        """Prints what is left of the block that grew."""
        flow, self._flow = self._flow, None
        if flow is not None:
            self._print(flow.rest())
        self._busy, self._since = "waiting for the model", time.monotonic()

    def _print(self, renderable: RenderableType | None) -> None:
        if renderable is not None:
            # what was drawn below holds the same lines still
            self.tick()
            self.console.print(renderable)
            self.console.print()

    def _current(self) -> RenderableType:
        """What is drawn again and again below the printed lines."""
        flow = self._flow
        if flow is not None:
            return _Tail(flow.growing(self.console.height))
        if not self._busy:
            return ""
        waited = f"{self._busy}, {time.monotonic() - self._since:.0f} s (Ctrl-C stops it)"
        self._spinner.update(text=Text(waited, style="dim"))
        return self._spinner


class _Tail:
    """The last lines of something, as many as the screen shows: a taller one could not be drawn over."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._inner, options.update(height=None), pad=False)
        for line in lines[-max(console.height - 2, 1) :]:
            yield from line
            yield Segment.line()


def called(call: Call, width: int) -> RenderableType:
    """A call: its name, and its arguments on the same line where they fit, else below."""
    head = Text.assemble(("→ ", "cyan"), (harmless(call.name), "bold cyan"), " ")
    arguments = call.arguments
    if not call.is_whole:
        return head.append(f"{harmless(arguments)} (it was cut)", style="dim")
    compact = msgspec.json.format(arguments.encode(), indent=0).decode()
    if len(head) + len(compact) <= width:
        return head.append(harmless(compact))
    return Group(head, Text(harmless(msgspec.json.format(arguments.encode(), indent=2).decode())))
