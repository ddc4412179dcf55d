"""Claude Code (`claude -p`) against the scripted engine: what it prints, and what the engine received."""

from __future__ import annotations

import signal
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.cli.banner import claude_code
from dragoman.engines.scripted import Fail, Hang, Script, answer, refuse, text_chunk
from dragoman.errors import OverloadedError, PromptTooLongError
from dragoman.wire.openai import ChatMessage, ChatRequest, ImagePart, ModelCard, TextPart
from tests.clients.conftest import Serve
from tests.clients.sdk import eventually
from tests.support.claude_code import Claude

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def conversations(**scripts: Sequence[Script]) -> Callable[[ChatRequest], Script]:
    """Plays the conversation whose key stands in a user turn, one script for each answer already given."""

    def pick(request: ChatRequest) -> Script:
        said = " ".join(text(turn) for turn in request.messages if turn.role == "user")
        answered = sum(turn.role == "assistant" for turn in request.messages)
        (played,) = (played for key, played in scripts.items() if key in said)
        return played[answered]

    return pick


def text(turn: ChatMessage) -> str:
    """The text of a turn."""
    if isinstance(turn.content, list):
        return "".join(part.text for part in turn.content if isinstance(part, TextPart))
    return turn.content or ""


def call(tool: str, **arguments: Any) -> tuple[str, str]:
    """A call as the engine writes it."""
    return tool, msgspec.json.encode(arguments).decode()


def results(request: ChatRequest) -> list[str]:
    """What the tools answered, in order."""
    return [text(turn) for turn in request.messages if turn.role == "tool"]


def png(side: int = 8) -> bytes:
    """A small red picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    rows = (b"\0" + b"\xff\0\0" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_text(serve: Serve, tmp_path: Path) -> None:
    server = serve(conversations(GREET=[answer("Hello from the engine.", thinking="A greeting.")]))
    run = Claude(server.url, tmp_path).run("GREET me")
    assert (run.returncode, run.text) == (0, "Hello from the engine.")
    assert run.result["usage"]["output_tokens"] > 0
    (only,) = server.calls
    assert (only.streamed, only.outcome) == (True, "finished")
    assert only.request.reasoning.enabled
    turns = only.request.messages
    assert turns[0].role == "system"
    assert "x-anthropic-billing-header" not in text(turns[0])
    # the environment's text is a system turn after the prompt, and stays there
    assert [turn.role for turn in turns[1:]] == ["user", "system"]
    assert {"Bash", "Read", "Agent"} <= {tool.function.name for tool in only.request.tools}


def test_a_bash_loop(serve: Serve, tmp_path: Path) -> None:
    first = call("Bash", command="echo answer-$((40 + 2))", description="Adds")
    server = serve(conversations(ADD=[answer("Adding.", calls=[first]), answer("It is 42.")]))
    run = Claude(server.url, tmp_path).run("ADD the numbers", tools=["Bash"])
    assert (run.returncode, run.text, run.result["num_turns"]) == (0, "It is 42.", 2)
    one, two = (each.request for each in server.calls)
    assert results(two) == ["answer-42"]
    # the second prompt is the first one, extended
    assert two.messages[: len(one.messages)] == one.messages
    assert two.tools == one.tools
    (echoed,) = (turn for turn in two.messages if turn.role == "assistant")
    assert text(echoed) == "Adding."
    assert [(made.id, made.function.arguments) for made in echoed.tool_calls or ()] == [("call_0", first[1])]


def test_thinking_comes_home_in_a_loop(serve: Serve, tmp_path: Path) -> None:
    thought = "First think:\n\n  then act. 🎉"
    first = answer("", thinking=thought, calls=[call("Bash", command="true", description="Nothing")])
    server = serve(conversations(THINK=[first, answer("Done.")]))
    run = Claude(server.url, tmp_path).run("THINK first", tools=["Bash"])
    assert (run.returncode, run.text) == (0, "Done.")
    (echoed,) = (turn for turn in server.calls[1].request.messages if turn.role == "assistant")
    assert echoed.reasoning == thought


def test_a_read_loop(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("the sky is plaid\n", encoding="utf-8")
    first = answer("", calls=[call("Read", file_path=str(file))])
    server = serve(conversations(READ=[first, answer("The sky is plaid.")]))
    run = Claude(server.url, tmp_path).run("READ the notes", tools=["Read"])
    assert (run.returncode, run.text) == (0, "The sky is plaid.")
    assert "the sky is plaid" in results(server.calls[1].request)[0]


def test_two_parallel_calls(serve: Serve, tmp_path: Path) -> None:
    commands = [call("Bash", command=f"echo out-{name}", description=name) for name in ("one", "two")]
    server = serve(conversations(BOTH=[answer("Two at once.", calls=commands), answer("Both ran.")]))
    run = Claude(server.url, tmp_path).run("Run BOTH", tools=["Bash"])
    assert (run.returncode, run.text) == (0, "Both ran.")
    second = server.calls[1].request
    assert results(second) == ["out-one", "out-two"]
    assert [turn.tool_call_id for turn in second.messages if turn.role == "tool"] == ["call_0", "call_1"]
    (echoed,) = (turn for turn in second.messages if turn.role == "assistant")
    assert [made.function.arguments for made in echoed.tool_calls or ()] == [raw for _, raw in commands]


@pytest.mark.parametrize("context", [32768, 65536])
def test_the_lines_that_serve_prints_leave_room_to_work(serve: Serve, tmp_path: Path, context: int) -> None:
    first = call("Bash", command="echo out", description="Says it")
    server = serve(conversations(ROOM=[answer("", calls=[first]), answer("It said so.")]))
    env = claude_code(server.url, ModelCard(id="scripted", context_length=context), "any-word")
    run = Claude(server.url, tmp_path).run("Is there ROOM?", tools=["Bash"], env=env)
    assert (run.returncode, run.text) == (0, "It said so.")
    # two requests, and no compaction between them
    assert [results(each.request) for each in server.calls] == [[], ["out"]]


def test_a_failed_call_is_seen_as_failed(serve: Serve, tmp_path: Path) -> None:
    first = call("Bash", command="echo sad >&2; exit 3", description="Fails")
    server = serve(conversations(FAIL=[answer("", calls=[first]), answer("It failed.")]))
    run = Claude(server.url, tmp_path).run("Please FAIL", tools=["Bash"])
    assert (run.returncode, run.text) == (0, "It failed.")
    assert "sad" in results(server.calls[1].request)[0]


def test_a_sub_agent(serve: Serve, tmp_path: Path) -> None:
    task = call(
        "Agent",
        description="Looks it up",
        prompt="LOOKUP the answer",
        subagent_type="general-purpose",
        run_in_background=False,
    )
    server = serve(
        conversations(
            DELEGATE=[answer("Delegating.", calls=[task]), answer("The agent says: seven.")],
            LOOKUP=[
                answer("", calls=[call("Bash", command="echo seven", description="Looks")]),
                answer("I found seven."),
            ],
        )
    )
    run = Claude(server.url, tmp_path).run("DELEGATE this", tools=["Agent", "Bash"])
    assert (run.returncode, run.text) == (0, "The agent says: seven.")
    delegating, looking, looked, told = (each.request for each in server.calls)
    assert results(delegating) == results(looking) == []
    assert results(looked) == ["seven"]
    assert "I found seven." in results(told)[0]


def test_an_image_is_read(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(png())
    first = answer("", calls=[call("Read", file_path=str(file))])
    server = serve(conversations(LOOK=[first, answer("It is red.")]))
    run = Claude(server.url, tmp_path).run("LOOK at the picture", tools=["Read"])
    assert (run.returncode, run.text) == (0, "It is red.")
    second = server.calls[1].request
    images = [
        part
        for turn in second.messages
        if isinstance(turn.content, list)
        for part in turn.content
        if isinstance(part, ImagePart)
    ]
    assert [image.image_url.url.partition(",")[0] for image in images] == ["data:image/png;base64"]


def test_an_error_in_mid_stream_is_asked_again_without_a_stream(serve: Serve, tmp_path: Path) -> None:
    broken = Script(steps=[text_chunk("Half an ans"), Fail(OverloadedError("the engine is gone"))])
    server = serve([broken, answer("A whole answer.")])
    run = Claude(server.url, tmp_path).run("Say something")
    assert (run.returncode, run.text) == (0, "A whole answer.")
    assert [(each.streamed, each.outcome) for each in server.calls] == [(True, "failed"), (False, "finished")]
    assert server.calls[0].request.messages == server.calls[1].request.messages


def test_an_error_before_the_answer_is_asked_again(serve: Serve, tmp_path: Path) -> None:
    server = serve([Script(refusal=OverloadedError("the engine is full")), answer("Hello.")])
    run = Claude(server.url, tmp_path).run("Say hello")
    assert (run.returncode, run.text) == (0, "Hello.")
    assert [each.outcome for each in server.calls] == ["failed", "finished"]


def test_a_prompt_that_is_too_long_is_compacted(serve: Serve, tmp_path: Path) -> None:
    def pick(request: ChatRequest) -> Script:
        said = " ".join(text(turn) for turn in request.messages if turn.role == "user")
        if "TEXT ONLY" in said:
            return answer("<analysis>Short.</analysis><summary>Step one is done.</summary>")
        if "Step one is done" in said:
            return answer("All done.")
        if any(turn.role == "assistant" for turn in request.messages):
            return refuse(PromptTooLongError(250_000, 200_000))
        return answer("", calls=[call("Bash", command="echo one", description="Step one")])

    server = serve(pick)
    run = Claude(server.url, tmp_path).run("Do long work", tools=["Bash"])
    assert (run.returncode, run.text) == (0, "All done.")
    assert [each.outcome for each in server.calls] == ["finished", "failed", "finished", "finished"]
    assert "compact_boundary" in [event.get("subtype") for event in run.events]


def test_an_answer_that_is_cut_is_resumed(serve: Serve, tmp_path: Path) -> None:
    server = serve([answer("The first half", finish="length"), answer("and the second half.")])
    run = Claude(server.url, tmp_path).run("Tell me both halves")
    assert run.returncode == 0
    assert "and the second half." in run.text
    assert len(server.calls) == 2


@pytest.mark.parametrize("model", ["claude-sonnet-5", "claude-haiku-4-5", "claude-3-5-haiku-20241022"])
def test_every_claude_name_is_served_by_the_default_model(serve: Serve, tmp_path: Path, model: str) -> None:
    server = serve(conversations(GREET=[answer("Hello from the engine.")]))
    run = Claude(server.url, tmp_path, model=model).run("GREET me")
    assert (run.returncode, run.text) == (0, "Hello from the engine.")
    assert [each.request.model for each in server.calls] == ["scripted"]


def test_an_unknown_model_is_an_error_a_user_understands(serve: Serve, tmp_path: Path) -> None:
    server = serve([])
    run = Claude(server.url, tmp_path, model="nobody").run("Say hello")
    assert run.returncode != 0
    assert run.result["is_error"]
    assert "nobody" in run.text
    assert server.calls == []


def test_ctrl_c_ends_the_engines_work(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda _: Script(steps=[text_chunk("Once upon"), Hang()]))
    with Claude(server.url, tmp_path).start("Tell a long story") as process:
        try:
            assert eventually(lambda: bool(server.calls), 30.0)
            process.send_signal(signal.SIGINT)
            assert eventually(lambda: server.calls[0].outcome == "cancelled")
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert len(server.calls) == 1
