"""Runs of real clients, each a conversation that a harness or a user has: what the model does is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import anthropic
import claude_agent_sdk
import msgspec
from anthropic import beta_tool
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

from dragoman.engines.scripted import Script, answer
from dragoman.wire.openai import ChatChunk, ChatRequest, ChatUsage
from tests.clients.sdk import API_KEY
from tests.clients.test_claude_code import call, conversations, png, text
from tests.prefix.recording import MODEL, Recorded, recording
from tests.support.claude_code import Claude, ClaudeRun, claude_binary
from tests.support.pdfs import pdf as pdf_of

ROOM = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "200000"}


def _ended(run: ClaudeRun, words: str) -> None:
    """The client came to the end that the script leads to: else the record is of something else."""
    if (run.returncode, run.text) != (0, words):
        raise RuntimeError(f"Claude Code ended with {run.returncode}: {run.text!r} {run.stderr[-500:]}")


_NUMBERS = count(1)


def says(text: str = "", **more: Any) -> Script:
    """An answer whose calls have ids as engines of Mistral's models make them: nine letters and digits."""
    script = answer(text, **more)
    calls = [
        call
        for step in script.steps
        if isinstance(step, ChatChunk)
        for choice in step.choices
        for call in choice.delta.tool_calls or ()
    ]
    for call_piece in calls:
        if call_piece.id is not None:
            call_piece.id = f"call{next(_NUMBERS):05}"
    return script


def bash(command: str) -> tuple[str, str]:
    """A call of the shell."""
    return call("Bash", command=command, description="Runs it")


def tool_loop(folder: Path) -> Recorded:
    """Claude Code: writing, reading, two commands at once, one that fails, and the answer."""
    file = folder / "notes.txt"
    steps = [
        says("I write the notes.", calls=[call("Write", file_path=str(file), content="one\ntwo\n")]),
        says("", calls=[call("Read", file_path=str(file))]),
        says("Two at once.\n", calls=[bash("echo out-one"), bash("echo 'out  two\n\n'")]),
        says("Now one that fails.", calls=[bash("echo sad >&2; exit 3")]),
        says("All of it is done."),
    ]
    with recording(conversations(WORK=steps)) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("WORK on it", tools=["Bash", "Read", "Write"])
        _ended(run, "All of it is done.")
    return recorded


def thinking(folder: Path) -> Recorded:
    """Claude Code: thoughts before calls and answers, signed and sent back; then the user goes on."""
    steps = [
        says("", thinking="First I look.\n\nThen I act.", calls=[bash("echo seen")]),
        says("I have seen it.", thinking="That was it.", calls=[bash("echo again")]),
        says("It is there.", thinking="Nothing is left to do."),
        says("", thinking="The user wants more.", calls=[bash("echo more")]),
        says("That is all.", thinking="Now it is."),
    ]
    with recording(conversations(THINK=steps)) as (url, recorded):
        claude = Claude(url, folder, model=MODEL)
        _ended(claude.run("THINK first", tools=["Bash"]), "It is there.")
        _ended(claude.run("Go on", tools=["Bash"], options=["-c"]), "That is all.")
    return recorded


def resume(folder: Path) -> Recorded:
    """Claude Code: a conversation that is resumed twice, without any thinking."""
    steps = [
        says("", calls=[bash("echo first")]),
        says("First is done."),
        says("Second needs no tool."),
        says("", calls=[bash("echo third")]),
        says("Third is done."),
    ]
    with recording(conversations(STEPS=steps)) as (url, recorded):
        claude = Claude(url, folder, model=MODEL)
        first = claude.run("STEPS, the first", tools=["Bash"])
        _ended(first, "First is done.")
        _ended(claude.run("The second", tools=["Bash"], options=["-c"]), "Second needs no tool.")
        again = ["--resume", str(first.result["session_id"])]
        _ended(claude.run("The third", tools=["Bash"], options=again), "Third is done.")
    return recorded


def sub_agent(folder: Path) -> Recorded:
    """Claude Code: an agent that works with tools of its own, and the main conversation around it."""
    task = call(
        "Agent",
        description="Looks it up",
        prompt="LOOKUP the answer",
        subagent_type="general-purpose",
        run_in_background=False,
    )
    main = [says("Delegating.", calls=[task]), says("", calls=[bash("echo eight")]), says("Fifteen.")]
    agent = [says("", calls=[bash("echo seven")]), says("", calls=[bash("true")]), says("Seven.")]
    with recording(conversations(DELEGATE=main, LOOKUP=agent)) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("DELEGATE this", tools=["Agent", "Bash"])
        _ended(run, "Fifteen.")
    return recorded


def image(folder: Path) -> Recorded:
    """Claude Code: two pictures read, one after the other, and a command."""
    files = [folder / "red.png", folder / "larger.png"]
    for side, file in enumerate(files, 8):
        file.write_bytes(png(side))
    steps = [
        *(says("", calls=[call("Read", file_path=str(file))]) for file in files),
        says("", calls=[bash("echo seen")]),
        says("Both are red."),
    ]
    with recording(conversations(LOOK=steps)) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("LOOK at the pictures", tools=["Read", "Bash"])
        _ended(run, "Both are red.")
    return recorded


def pdf(folder: Path) -> Recorded:
    """Claude Code: a PDF of two pages is read, then a command is run."""
    file = folder / "report.pdf"
    file.write_bytes(pdf_of("The sky is plaid", "and the sea is tartan"))
    steps = [
        says("", calls=[call("Read", file_path=str(file))]),
        says("", calls=[bash("echo seen")]),
        says("Plaid and tartan."),
    ]
    with recording(conversations(REPORT=steps)) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("Sum up the REPORT", tools=["Read", "Bash"])
        _ended(run, "Plaid and tartan.")
    return recorded


def deferred(folder: Path) -> Recorded:
    """Claude Code: tools that wait are searched for and loaded, one after the other, between other calls."""
    steps = [
        says("", calls=[call("ToolSearch", query="select:WebFetch", max_results=5)]),
        says("", calls=[bash("echo one")]),
        says("", calls=[call("ToolSearch", query="select:NotebookEdit", max_results=5)]),
        says("", calls=[bash("echo two")]),
        says("Both are there."),
    ]
    with recording(conversations(LOAD=steps)) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("LOAD the tools", tools=["ToolSearch", "Bash"])
        _ended(run, "Both are there.")
    return recorded


def compaction(folder: Path) -> Recorded:
    """Claude Code: the usage comes near the window, the client asks for a summary and begins anew with it."""

    def pick(request: ChatRequest) -> Script:
        said = " ".join(text(turn) for turn in request.messages if turn.role == "user")
        answered = sum(turn.role == "assistant" for turn in request.messages)
        if "TEXT ONLY" in said:
            return says("<analysis>Short.</analysis><summary>Step two is done.</summary>")
        if "Step two is done" in said:
            # the client keeps the last call and its result behind the summary
            return [says("", calls=[bash("echo three")]), says("All done.")][answered - 1]
        full = ChatUsage(prompt_tokens=185_000, completion_tokens=50)
        return [
            says("", calls=[bash("echo one")]),
            says("", calls=[bash("echo two")], usage=full),
        ][answered]

    with recording(pick, _after_compaction) as (url, recorded):
        run = Claude(url, folder, model=MODEL).run("Do long work", tools=["Bash"], env=ROOM)
        _ended(run, "All done.")
    return recorded


def _after_compaction(request: ChatRequest) -> bool:
    """Whether the conversation is the one that begins with the summary."""
    return any("Step two is done" in text(turn) for turn in request.messages if turn.role == "user")


def tool_runner(folder: Path) -> Recorded:
    """The Python SDK's `tool_runner`: a loop with parallel calls, no session of its own."""
    steps = [
        says(
            "I ask for two.", calls=[("get_weather", '{"city": "Oslo"}'), ("get_weather", '{"city":"Rome"}')]
        ),
        says("", calls=[("get_weather", '{"city": "Bern", "unit": "f"}')]),
        says("It is 21 degrees everywhere."),
    ]

    @beta_tool
    def get_weather(city: str, unit: str = "c") -> str:
        """Weather for a city.

        Args:
            city: The city's name.
            unit: The unit of the temperature, c or f.
        """
        return f"21 {unit} in {city}"

    with recording(steps) as (url, recorded):
        # Loopback needs no certificates, and reading them takes most of a call's time.
        http = anthropic.DefaultHttpxClient(verify=False)
        with anthropic.Anthropic(base_url=url, api_key=API_KEY, max_retries=0, http_client=http) as client:
            client.beta.messages.tool_runner(
                model=MODEL,
                max_tokens=1024,
                system="You know the weather.",
                messages=[{"role": "user", "content": "How is the weather?"}],
                tools=[get_weather],
            ).until_done()
    return recorded


def agent_sdk(folder: Path) -> Recorded:
    """The agent SDK: a tool of the program's own, and two questions in one session."""
    steps = [
        says("", thinking="I add.", calls=[("mcp__sums__add", '{"a": 40, "b": 2}')]),
        says("It is 42."),
        says("", calls=[("mcp__sums__add", '{"a": 1, "b": 2}')]),
        says("It is 3."),
    ]
    with recording(conversations(SUM=steps)) as (url, recorded):
        claude = Claude(url, folder, model=MODEL)
        asyncio.run(_ask_twice(claude, ["The SUM of 40 and 2?", "And of 1 and 2?"]))
    return recorded


async def _ask_twice(claude: Claude, questions: Sequence[str]) -> None:
    @claude_agent_sdk.tool("add", "Adds two numbers", {"a": float, "b": float})
    async def add(arguments: dict[str, float]) -> dict[str, object]:
        return {"content": [{"type": "text", "text": str(arguments["a"] + arguments["b"])}]}

    options = ClaudeAgentOptions(
        mcp_servers={"sums": claude_agent_sdk.create_sdk_mcp_server("sums", tools=[add])},
        allowed_tools=["mcp__sums__add"],
        cli_path=claude_binary(),
        cwd=claude.cwd,
        env=claude.environment(),
        model=MODEL,
    )
    async with ClaudeSDKClient(options) as client:
        for question in questions:
            await client.query(question)
            async for _ in client.receive_response():
                pass


class Scenario(msgspec.Struct, frozen=True):
    """A run, and how many turns each of its conversations has."""

    run: Callable[[Path], Recorded]
    turns: dict[str, int]


SCENARIOS = {
    "tool loop": Scenario(tool_loop, {"main": 5}),
    "sub-agent": Scenario(sub_agent, {"main": 3, "agent 1": 3}),
    "image": Scenario(image, {"main": 4}),
    "PDF": Scenario(pdf, {"main": 3}),
    "deferred tools": Scenario(deferred, {"main": 5}),
    "resume": Scenario(resume, {"main": 5}),
    "compaction": Scenario(compaction, {"main": 3, "main, anew": 2}),
    "thinking": Scenario(thinking, {"main": 5}),
    "tool runner": Scenario(tool_runner, {"main": 3}),
    "agent SDK": Scenario(agent_sdk, {"main": 4}),
}
