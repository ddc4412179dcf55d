"""Scores a local model's tool calls: `python -m bench.tools`. Writes build/eval-tools.json, prints a table.

Ends with 1 where a target is missed: 10 of 14 first answers right, every forced call valid by its schema,
words after every tool result, and counts that equal the bill.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench.tools import cases
from bench.tools.asking import Client, served
from bench.tools.cases import CaseSet, Prompt, Said

OUTPUT = Path(__file__).resolve().parents[2] / "build" / "eval-tools.json"
# Of the first answers, this share must be right: 10 of 14.
WANTED = 10 / 14
# What agents send behind a result, in the same turn.
REMINDER = "<system-reminder>The list of tasks is empty. Do not speak of this to the user.</system-reminder>"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One answer and what it is worth."""

    kind: str
    name: str
    right: bool
    said: Said
    seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is written: the scores by kind as [right, all], then everything they come from."""

    model: str
    aids: bool
    scores: dict[str, tuple[int, int]]
    grounded: tuple[int, int]
    miscounts: list[str]
    unlike: list[str]
    passed: bool
    rows: list[Row]


class Evaluation:
    """Asks everything of one server."""

    def __init__(self, client: Client, found: CaseSet, *, only_auto: bool = False) -> None:
        self._client = client
        self._only_auto = only_auto
        self._cases = found
        self._tools = msgspec.to_builtins(found.tools)
        self.rows: list[Row] = []
        self.grounded = 0

    def run(self, prompt: Prompt, number: int) -> None:
        """The first turn, two forced ones; where a tool was needed the second, bare and with a reminder."""
        opening = [{"role": "user", "content": prompt.text}]
        said = self._ask("first", prompt, opening)
        right = cases.first_turn_right(self._cases, prompt, said)
        self._note("first", prompt, said, right)
        named = prompt.tool or self._cases.tools[number % len(self._cases.tools)].name
        if not self._only_auto:
            self._force(prompt, opening, "any", "")
            self._force(prompt, opening, "named", named)
        if prompt.tool:
            call = said.calls[0] if right else (prompt.tool, prompt.example)
            self._answer("second", prompt, [*opening, *_result_of(call, prompt.result)])
            self._answer("remind", prompt, [*opening, *_result_of(call, prompt.result, REMINDER)])

    def _answer(self, kind: str, prompt: Prompt, messages: list[Any]) -> None:
        after = self._ask(kind, prompt, messages)
        self._note(kind, prompt, after, cases.second_turn_right(self._cases, after))
        self.grounded += re.search(prompt.answer, after.text) is not None

    def _force(self, prompt: Prompt, opening: list[Any], kind: str, name: str) -> None:
        choice = {"type": "tool", "name": name} if name else {"type": "any"}
        forced = self._ask(kind, prompt, opening, tool_choice=choice)
        self._note(kind, prompt, forced, cases.forced_right(self._cases, forced, name))

    def _ask(self, kind: str, prompt: Prompt, messages: list[Any], **more: Any) -> Said:
        self._began = time.monotonic()
        return self._client.ask(f"{kind} {prompt.name}", messages, tools=self._tools, **more)

    def _note(self, kind: str, prompt: Prompt, said: Said, right: bool) -> None:
        seconds = round(time.monotonic() - self._began, 2)
        self.rows.append(Row(kind=kind, name=prompt.name, right=right, said=said, seconds=seconds))
        line = f"{kind:6} {prompt.name}: {'yes' if right else 'NO'}, {seconds} s: {_shown(said)}"
        print(line, file=sys.stderr, flush=True)


def _result_of(call: tuple[str, Any], result: str, behind: str = "") -> list[dict[str, Any]]:
    """The turns of a call and its result, with what an agent says behind it."""
    name, arguments = call
    used = {"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}
    answered = {"type": "tool_result", "tool_use_id": "toolu_1", "content": result}
    told = [answered, *([{"type": "text", "text": behind}] if behind else [])]
    return [{"role": "assistant", "content": [used]}, {"role": "user", "content": told}]


def result_of(client: Client, evaluation: Evaluation, *, aids: bool) -> Result:
    """The scores, and whether they are what is wanted."""
    scores: dict[str, tuple[int, int]] = {}
    for row in evaluation.rows:
        right, every = scores.get(row.kind, (0, 0))
        scores[row.kind] = (right + row.right, every + 1)
    first, every = scores["first"]
    others = all(right == number for kind, (right, number) in scores.items() if kind != "first")
    return Result(
        model=client.model,
        aids=aids,
        scores=scores,
        grounded=(evaluation.grounded, scores["second"][1] + scores["remind"][1]),
        miscounts=client.miscounts,
        unlike=client.unlike,
        passed=first >= WANTED * every and others and not client.miscounts,
        rows=evaluation.rows,
    )


def print_table(result: Result) -> None:
    """One row per prompt, and the scores."""
    table = Table("prompt", *result.scores, "the first answer", title=f"{result.model}, temperature 0")
    for name in dict.fromkeys(row.name for row in result.rows):
        rows = {row.kind: row for row in result.rows if row.name == name}
        marks = [_mark(rows.get(kind)) for kind in result.scores]
        table.add_row(name, *marks, _shown(rows["first"].said))
    Console(width=140).print(table, markup=False)
    words = {
        "first": "first answers right",
        "any": "valid calls where some tool had to be called",
        "named": "valid calls of a named tool",
        "second": "words after a result",
        "remind": "words after a result with a reminder behind it",
    }
    for kind, (right, every) in result.scores.items():
        print(f"{right:3} of {every} {words[kind]}")
    print(
        f"{result.grounded[0]:3} of {result.grounded[1]} of these two hold what the result says (no target)"
    )
    for line in (*result.miscounts, *result.unlike):
        print(line)
    print("passed" if result.passed else "NOT passed")


def _mark(row: Row | None) -> str:
    if row is None:
        return ""
    return "yes" if row.right else "NO"


def _shown(said: Said) -> str:
    calls = [f"{name}({msgspec.json.encode(arguments).decode()})" for name, arguments in said.calls]
    words = " ".join(said.text.split())
    return " ".join([*([words] if words else []), *calls])[:90]


def main() -> int:
    """Runs the evaluation; 0 where every target is met."""
    parser = argparse.ArgumentParser(prog="bench.tools", description=__doc__)
    parser.add_argument("--model", default="", help="a name of the catalogue or a file (the default model)")
    parser.add_argument("--prompts", type=Path, default=cases.PROMPTS, help="the set of prompts")
    parser.add_argument("--no-aids", action="store_true", help="without the model's prompt aids")
    parser.add_argument("--only-auto", action="store_true", help="without the forced calls")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the answers go")
    options = parser.parse_args()
    environment = {"DRAGOMAN_LOCAL__PROMPT_AIDS": "false"} if options.no_aids else {}
    with served(options.model, environment) as url:
        client = Client(url)
        found = cases.load(options.prompts)
        evaluation = Evaluation(client, found, only_auto=options.only_auto)
        for number, prompt in enumerate(found.prompts):
            evaluation.run(prompt, number)
    result = result_of(client, evaluation, aids=not options.no_aids)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    print_table(result)
    print(f"written to {options.output}")
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
