"""Claude Code's deferred tools: loaded in the middle of a conversation, and the prompt's head stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.engines.scripted import answer
from tests.clients.conftest import Serve
from tests.clients.test_claude_code import call, conversations, results
from tests.support.claude_code import Claude

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def test_a_deferred_tool_is_loaded_and_called(serve: Serve, tmp_path: Path) -> None:
    search = answer("", calls=[call("ToolSearch", query="select:TaskList", max_results=5)])
    listing = answer("", calls=[call("TaskList")])
    server = serve(conversations(LOAD=[search, listing, answer("There are none.")]))
    run = Claude(server.url, tmp_path).run("LOAD a tool", tools=["ToolSearch", "TaskList"])
    assert (run.returncode, run.text) == (0, "There are none.")
    one, two, three = (each.request for each in server.calls)
    assert one.loaded_tools == []
    names = [[tool.function.name for tool in request.loaded_tools] for request in (two, three)]
    assert names == [["TaskList"], ["TaskList"]]
    assert '"name":"TaskList"' in results(two)[0]
    assert not any("DeferredToolPlaceholder" in str(tool) for request in (one, two) for tool in request.tools)
    assert one.tools == two.tools == three.tools
    for earlier, later in ((one, two), (two, three)):
        assert later.messages[: len(earlier.messages)] == earlier.messages
