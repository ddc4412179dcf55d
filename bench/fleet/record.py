"""Records `pattern.json`: two runs of Claude Code on a copy of this project, of which only sizes are kept.

What the model does is scripted: it looks about, hands two searches to sub-agents, changes a file, runs
commands, and answers; then the user goes on. The tools are the client's, and what they return is what they
find. `python -m bench.fleet.record`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.fleet.pattern import FILE, MAIN, Call, Conversation, Pattern
from bench.processes import ROOT
from dragoman.engines.scripted import Script
from dragoman.wire.openai import ChatRequest
from tests.clients.test_claude_code import call, conversations
from tests.prefix.recording import MODEL, Recorded, recording
from tests.prefix.rendering import Template
from tests.prefix.scenarios import bash, says
from tests.prefix.table import all_templates
from tests.support.claude_code import Claude

TEMPLATE = "Qwen-Qwen3-0.6B"
TOOLS = ["Agent", "Bash", "Edit", "Glob", "Grep", "Read", "Write"]
SPAWNS = "Agent"
Tokens = Sequence[int]


def agent(marker: str) -> tuple[str, str]:
    """A call that starts a sub-agent and waits for it."""
    return call(
        SPAWNS,
        description="Looks it up",
        prompt=f"{marker}: find out how it is done here and report.",
        subagent_type="general-purpose",
        run_in_background=False,
    )


def main_script(project: Path) -> list[Script]:
    """What the main conversation does."""
    source, note = project / "src" / "dragoman", project / "NOTE.md"
    words = (ROOT / "docs" / "design" / "28-placement.md").read_text()
    read = [
        call("Read", file_path=str(source / name)) for name in ("service/service.py", "routing/client.py")
    ]
    reading = [says("I look at this next.", calls=[one]) for one in read]
    return [
        says("I look about first.", calls=[bash(f"ls -R {source} | head -150"), bash("git --version")]),
        *reading,
        says("Both of these can be looked up.", calls=[agent("ROUTES"), agent("STREAMS")]),
        says("", calls=[call("Grep", pattern="def ", path=str(source / "routing"), output_mode="content")]),
        says("I write down what I found.", calls=[call("Write", file_path=str(note), content=words)]),
        says(
            "", calls=[call("Edit", file_path=str(note), old_string="# 28. Placement", new_string="# Notes")]
        ),
        says("", calls=[bash(f"wc -l {source}/*/*.py")]),
        says(words),
        says("", calls=[call("Read", file_path=str(source / "routing" / "router.py"))]),
        says("", calls=[bash(f"grep -rn 'class ' {source}/engines | head -100")]),
        says(words[:600]),
    ]


def agent_script(source: Path, names: Sequence[str]) -> list[Script]:
    """What a sub-agent does: it searches, reads some files, and reports."""
    reads = [says("", calls=[call("Read", file_path=str(source / name))]) for name in names]
    search = call("Grep", pattern="async def", path=str(source), output_mode="content")
    return [says("I search.", calls=[search]), *reads, says("This is how it is done. " * 40)]


def run(folder: Path) -> Recorded:
    """One session in an empty folder; `RuntimeError` where the client does not come to its end."""
    project = folder / "project"
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    source = project / "src" / "dragoman"
    routes = agent_script(
        source, ["server/app.py", "server/exchange.py", "server/messages.py", "server/guard.py"]
    )
    streams = agent_script(source, ["service/stream.py", "translate/stream.py", "translate/order.py"])
    scripts = conversations(WORK=main_script(project), ROUTES=routes, STREAMS=streams)
    with recording(scripts) as (url, recorded):
        claude = Claude(url, project, model=MODEL)
        for prompt, options in (("WORK through the project", []), ("Go on with the router", ["-c"])):
            ended = claude.run(prompt, tools=TOOLS, options=options)
            if ended.returncode != 0:
                raise RuntimeError(f"Claude Code ended with {ended.returncode}: {ended.text} {ended.stderr}")
    return recorded


def common(one: Tokens, other: Tokens) -> int:
    """How many tokens two prompts begin with together."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (first, second) in pairs if first != second), min(len(one), len(other)))


def pattern_of(template: Template, first: Recorded, second: Recorded) -> Pattern:
    """The sizes of the first run; what the second one begins with as well is shared by all."""
    turns, others = first.of(template.habits), second.of(template.habits)
    starts = {MAIN: None, **{f"agent {at}": after for at, after in enumerate(spawned(turns[MAIN][-1]), 1)}}
    return Pattern(
        "Claude Code",
        f"{TEMPLATE}, its own template and tokenizer",
        tuple(
            Conversation(
                name.split(" ", maxsplit=1)[0],
                common(cut(template, turns[name][0]), cut(template, others[name][0])),
                tuple(sizes(template, turns[name])),
                starts[name],
            )
            for name in sorted(turns, key=lambda each: (each != MAIN, each))
        ),
    )


def spawned(last: ChatRequest) -> list[int]:
    """For each sub-agent in order: the number of the answer that called for it."""
    answers = [message for message in last.messages if message.role == "assistant"]
    return [
        at
        for at, answer in enumerate(answers)
        for one in answer.tool_calls or ()
        if one.function.name == SPAWNS
    ]


def cut(template: Template, turn: ChatRequest) -> Tokens:
    """The tokens of a prompt; `RuntimeError` where the template refuses it."""
    prompt = template.prompt(turn)
    if prompt is None:
        raise RuntimeError(f"{TEMPLATE} refuses a turn: {template.refusal}")
    return template.tokenizer.tokens(prompt)


def sizes(template: Template, turns: Sequence[ChatRequest]) -> Iterator[Call]:
    """The calls of a conversation. An answer is what the next prompt holds of it."""
    answer = 0
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        if following is not None:
            added = following.messages[len(turn.messages) :]
            answer = sum(words(template, message) for message in msgspec.to_builtins(added) if said(message))
        yield Call(len(cut(template, turn)), answer)


def said(message: dict[str, object]) -> bool:
    """Whether a message is the model's."""
    return message["role"] == "assistant"


def words(template: Template, message: dict[str, object]) -> int:
    """The tokens of what a model wrote, its calls included."""
    wrote = {name: message[name] for name in ("content", "tool_calls") if message.get(name)}
    return len(template.tokenizer.tokens(msgspec.json.encode(wrote).decode()))


def main() -> None:
    """Writes the file."""
    template = next(each for each in all_templates() if each.name == TEMPLATE)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        made = pattern_of(template, run(Path(one)), run(Path(other)))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    print(f"wrote {FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
