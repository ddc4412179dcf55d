"""The requests: histories of an agent, in the form of the Messages API and in that of Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

SIZES = {"1KB": 1_000, "100KB": 100_000, "1MB": 1_000_000}
SESSION_TURNS = 200
RESULT_LINES = 40
SESSION_RESULT_LINES = 14
MAX_TOKENS = 4096
SYSTEM = "You are a careful engineer who works in the user's repository. "
# How often the system prompt says it: to a first question, and in an agent's long history.
SMALL_SYSTEM, LARGE_SYSTEM = 9, 60

LINES = [
    "def measure(path: Path, *, limit: int = {n}) -> dict[str, float]:",
    '    """The figures of one file, by name."""',
    '    text = path.read_text(encoding="utf-8")',
    '    rows = [line.split("\\t") for line in text.splitlines() if line]',
    "    # a row without a value says nothing: it is left out, not read as 0",
    "    return {{name: float(value) for name, value in rows[:limit]}}",
    "",
    "INFO  [worker-{n}] read 12 files in C:\\data\\run{n}, 3 skipped: naïve, Köln, 東京 🎉",
]


class Round(msgspec.Struct, frozen=True):
    """One step of an agent: what it says, the tool that it calls, and what the tool gave."""

    number: int
    says: str
    tool: str
    arguments: dict[str, Any]
    result: str


class History(msgspec.Struct, frozen=True):
    """A conversation so far: a question, then the agent's rounds."""

    system: str
    tools: list[dict[str, Any]]
    question: str
    rounds: list[Round]


def lines(number: int, amount: int) -> str:
    """Lines as a tool prints them: code and logs, with quotes, tabs, backslashes and several scripts."""
    return "\n".join(LINES[place % len(LINES)].format(n=number + place) for place in range(amount))


def tool(name: str, *fields: str) -> dict[str, Any]:
    """A tool of an agent, with a schema of some fields."""
    properties = {
        field: {"type": "string", "description": f"The {field.replace('_', ' ')} that {name} works with."}
        for field in fields
    }
    return {
        "name": name,
        "description": f"{name.replace('_', ' ').capitalize()}. " + "Use it when the task asks for it. " * 3,
        "input_schema": {"type": "object", "properties": properties, "required": list(fields[:1])},
    }


WRITE_FILE: dict[str, Any] = {
    "name": "write_file",
    "description": "Writes a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
        "required": ["path", "text"],
    },
}
AGENT_TOOLS = [
    WRITE_FILE,
    tool("read_file", "path", "first_line", "last_line"),
    tool("edit_file", "path", "old_text", "new_text"),
    tool("run_command", "command", "folder", "timeout"),
    tool("find_files", "pattern", "folder"),
    tool("search_text", "expression", "folder", "file_pattern"),
    tool("fetch_page", "address", "question"),
    tool("search_web", "query", "language"),
    tool("ask_user", "question", "choices"),
    tool("start_agent", "task", "tools", "model"),
    tool("write_notes", "text"),
    tool("list_tasks", "state"),
]


def round_of(number: int, result_lines: int) -> Round:
    """One round; an edit now and then, whose arguments hold code, else a file that is read."""
    path = f"src/package_{number % 7}/module_{number}.py"
    says = f'Step {number}: I look at "{path}" first; the figures there should agree with the table.'
    if number % 4 == 3:
        arguments = {"path": path, "old_text": lines(number, 4), "new_text": lines(number + 1, 5)}
        return Round(number, says, "edit_file", arguments, "done\n" + lines(number, result_lines))
    return Round(
        number, says, "read_file", {"path": path, "first_line": "1"}, "   1\t" + lines(number, result_lines)
    )


def messages(history: History) -> bytes:
    """The history as the body of a Messages request."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": history.question}]
    for step in history.rounds:
        call = f"toolu_{step.number:06d}"
        use = {"type": "tool_use", "id": call, "name": step.tool, "input": step.arguments}
        turns.append({"role": "assistant", "content": [{"type": "text", "text": step.says}, use]})
        result = {"type": "tool_result", "tool_use_id": call, "content": step.result}
        turns.append({"role": "user", "content": [result]})
    system = {"type": "text", "text": history.system, "cache_control": {"type": "ephemeral"}}
    body = {
        "model": "canned",
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "thinking": {"type": "adaptive"},
        "system": [system],
        "tools": history.tools,
        "messages": turns,
    }
    return msgspec.json.encode(body)


def chat(history: History) -> bytes:
    """The history as the body of a Chat Completions request."""
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": history.system},
        {"role": "user", "content": history.question},
    ]
    for step in history.rounds:
        call = f"call_{step.number:06d}"
        arguments = msgspec.json.encode(step.arguments).decode()
        function = {"name": step.tool, "arguments": arguments}
        calls = [{"id": call, "type": "function", "function": function}]
        turns.append({"role": "assistant", "content": step.says, "tool_calls": calls})
        turns.append({"role": "tool", "tool_call_id": call, "content": step.result})
    functions = [
        {
            "type": "function",
            "function": {
                "name": item["name"],
                "description": item["description"],
                "parameters": item["input_schema"],
            },
        }
        for item in history.tools
    ]
    body = {
        "model": "canned",
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": functions,
        "messages": turns,
    }
    return msgspec.json.encode(body)


WRITERS = {"messages": messages, "chat": chat}


def history(size: str) -> History:
    """A history whose Messages request has about as many bytes as `size` says."""
    question = "Write two files about the weather."
    if size == "1KB":
        return History(SYSTEM * SMALL_SYSTEM, [WRITE_FILE], question, [])
    rounds: list[Round] = []
    found = History(SYSTEM * LARGE_SYSTEM, AGENT_TOOLS, question, rounds)
    missing = SIZES[size] - len(messages(found))
    for number in count():
        step = round_of(number, RESULT_LINES)
        missing -= len(messages(History("", [], "", [step]))) - len(messages(History("", [], "", [])))
        if missing < 0:
            return found
        rounds.append(step)
    raise AssertionError("a count does not end")


def body(size: str, form: str) -> bytes:
    """The request of one size in one form: `messages` or `chat`."""
    return WRITERS[form](history(size))


def session(form: str, turns: int = SESSION_TURNS) -> Iterator[bytes]:
    """The requests of one agent's session: each holds all of the one before, and one round more."""
    steps = [round_of(number, SESSION_RESULT_LINES) for number in range(turns)]
    for number in range(turns):
        yield WRITERS[form](
            History(SYSTEM * LARGE_SYSTEM, AGENT_TOOLS, "Make the figures agree.", steps[:number])
        )
