"""An examination's report as a person reads it: a table, what is missing, and what would bring it."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dragoman.cli.terminal import harmless_line
from dragoman.engines.doctor import Difference, Finding, Gap, Outcome, Report

_STYLES: dict[Outcome, str] = {
    "yes": "green",
    "partly": "yellow",
    "no": "red",
    "ignored": "red",
    "not shown": "yellow",
    "failed": "bold red",
    "not asked": "dim",
}
_LEGEND = "no: refused, or done without. ignored: taken, not obeyed. not shown: the model gave no occasion."


def show(console: Console, report: Report) -> None:
    """Prints it; at 80 columns every line is whole."""
    report = msgspec.convert(_cleaned(msgspec.to_builtins(report)), Report)
    console.print(_heading(report))
    console.print()
    console.print(_table(report.findings))
    if report.gaps:
        console.print()
        console.print(Text("Missing", style="bold"))
        for gap in report.gaps:
            _show_gap(console, gap)
    if report.differences:
        console.print()
        console.print(Text("Where detection says otherwise", style="bold"))
        for difference in report.differences:
            console.print(_indented(_difference(difference)))
    console.print()
    console.print(_verdict(report))


def _cleaned(value: object) -> object:
    """The value with harmless texts: an engine's answers and names are anybody's."""
    if isinstance(value, dict):
        return {name: _cleaned(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(member) for member in value]
    return harmless_line(value) if isinstance(value, str) else value


def _heading(report: Report) -> Text:
    model = (report.model, "bold")
    return Text.assemble((report.engine, "bold"), f" speaks the dialect {report.dialect}; model ", model)


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("what", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("how it was found", overflow="fold")
    for row in findings:
        table.add_row(
            row.title, Text(row.result, style=_STYLES[row.outcome]), Text(row.evidence, style="dim")
        )
    table.caption = _LEGEND
    table.caption_justify = "left"
    return table


def _show_gap(console: Console, gap: Gap) -> None:
    console.print(Text.assemble((gap.title, _STYLES[gap.outcome]), f" ({gap.outcome})"))
    console.print(_indented(Text(gap.meaning)))
    if gap.remedy:
        console.print(_indented(Text.assemble(("to have it: ", "dim"), (gap.remedy, "cyan"))))


def _difference(difference: Difference) -> Text:
    detected, shown = ("it can" if can else "it cannot" for can in (difference.detected, difference.shown))
    words = f": detected that {detected}, shown that {shown}. {difference.meaning}."
    return Text.assemble((difference.capability, "yellow"), words)


def _indented(text: Text) -> Table:
    """A paragraph that keeps its indent when it is folded."""
    table = Table.grid(padding=0)
    table.add_column(width=2)
    table.add_column(overflow="fold")
    table.add_row("", text)
    return table


def _verdict(report: Report) -> Text:
    calls = next(row.outcome for row in report.findings if row.name == "tools")
    if report.works and calls == "yes":
        return Text("It works for clients of the Messages API.", style="green")
    if report.works:
        return Text(
            "It answers clients of the Messages API; agents need tool calls, and none came.", "yellow"
        )
    return Text(
        "Something essential is missing: it does not work for clients of the Messages API.", style="bold red"
    )
