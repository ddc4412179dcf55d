"""Real clients and tools that run on the server: Claude Code's web search, and what the SDKs make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dragoman.engines.scripted import Script, answer
from dragoman.wire.openai import ChatRequest
from tests.clients.conftest import Serve
from tests.clients.sdk import SDK
from tests.clients.test_claude_code import call, results
from tests.support.claude_code import Claude

pytestmark = [pytest.mark.clients, pytest.mark.slow]

QUERY = "height of the Ziggel tower"


def searching(request: ChatRequest) -> Script:
    """Claude Code's own turns, and its side request whose only tool is the search."""
    names = {tool.function.name for tool in request.tools}
    if names == {"web_search"}:
        return answer("It says:") if results(request) else answer("", calls=[call("web_search", query=QUERY)])
    return answer("Done.") if results(request) else answer("", calls=[call("WebSearch", query=QUERY)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a page about a tower, and one about nothing."""
    made = tmp_path / "library"
    made.mkdir()
    (made / "tower.md").write_text("# The Ziggel tower\n\nThe Ziggel tower has a height of 77 m.\n")
    (made / "tea.txt").write_text("Tea is made of leaves.\n")
    return made


def test_claude_code_searches_a_folder(serve: Serve, tmp_path: Path, folder: Path) -> None:
    server = serve(searching, server_tools={"folder": str(folder)})
    run = Claude(server.url, tmp_path).run("How high is it?", tools=["WebSearch"])
    assert (run.returncode, run.text) == (0, "Done.")
    side = [
        made.request
        for made in server.calls
        if {t.function.name for t in made.request.tools} == {"web_search"}
    ]
    assert len(side) == 2
    (found,) = results(side[1])
    assert "The Ziggel tower has a height of 77 m." in found
    assert side[1].messages[: len(side[0].messages)] == side[0].messages
    (shown,) = results(server.calls[-1].request)
    assert "http://folder.invalid/tower.md" in shown
    assert "It says:" in shown


def test_claude_code_goes_on_without_a_search(serve: Serve, tmp_path: Path) -> None:
    server = serve(searching)
    run = Claude(server.url, tmp_path).run("How high is it?", tools=["WebSearch"])
    assert (run.returncode, run.text) == (0, "Done.")
    (shown,) = results(server.calls[-1].request)
    assert "server tool web_search_20250305 is not available" in shown
    assert all("web_search" not in {t.function.name for t in made.request.tools} for made in server.calls)


LOOK = ("web_search", '{"query":"Ziggel tower"}')
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
ASK: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "How high is it?"}],
}


def test_the_sdks_read_rounds_streamed_as_whole(sdk: SDK, serve: Serve, folder: Path) -> None:
    scripts = [answer("Let me look.", calls=[LOOK]), answer("77 m.")] * 2 + [answer("Yes.")]
    server = serve(scripts, server_tools={"folder": str(folder)})
    streamed = sdk.call("stream", server.url, {**ASK, "tools": [SEARCH]})["message"]
    whole = sdk.call("create", server.url, {**ASK, "tools": [SEARCH]})["message"]
    for message in (streamed, whole):
        kinds = [block["type"] for block in message["content"]]
        assert kinds == ["text", "server_tool_use", "web_search_tool_result", "text"]
        assert message["content"][1]["input"] == {"query": "Ziggel tower"}
        assert message["content"][2]["content"][0]["url"] == "http://folder.invalid/tower.md"
        assert message["usage"]["server_tool_use"]["web_search_requests"] == 1
    # what came back goes in again, and the prompt of the last round is the head of the new one
    asked = server.calls[-1].request.messages
    turns = [
        *ASK["messages"],
        {"role": "assistant", "content": whole["content"]},
        {"role": "user", "content": "Sure?"},
    ]
    sdk.call("create", server.url, {**ASK, "messages": turns, "tools": [SEARCH]})
    following = server.calls[-1].request.messages
    assert [turn.role for turn in following] == ["user", "assistant", "tool", "assistant", "user"]
    assert following[: len(asked)] == asked


def test_tool_runner_runs_its_own_tools_only(sdk: SDK, serve: Serve, folder: Path) -> None:
    scripts = [
        answer("", calls=[LOOK]),
        answer("", calls=[("get_weather", '{"city":"Ziggel"}')]),
        answer("77 m, and sunny."),
    ]
    server = serve(scripts, server_tools={"folder": str(folder)})
    got = sdk.call("tool_runner", server.url, {**ASK, "more_tools": [SEARCH]})
    assert [block["type"] for block in got["message"]["content"]] == ["text"]
    assert [call["city"] for call in got["calls"]] == ["Ziggel"]
    last = server.calls[-1].request.messages
    assert [turn.role for turn in last] == ["user", "assistant", "tool", "assistant", "tool"]
    assert last[: len(server.calls[1].request.messages)] == server.calls[1].request.messages
