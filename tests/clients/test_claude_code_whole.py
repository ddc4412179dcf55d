"""Claude Code and the agent SDK with what they ask for beyond a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, create_sdk_mcp_server, query, tool

from dragoman.engines.scripted import answer
from tests.clients.conftest import Serve
from tests.clients.test_claude_code import call, conversations, results
from tests.support.claude_code import Claude

pytestmark = [pytest.mark.clients, pytest.mark.slow]

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def test_an_answer_in_a_schema(serve: Serve, tmp_path: Path) -> None:
    first = call("StructuredOutput", name="Ada", age=36)
    server = serve(conversations(PERSON=[answer("", calls=[first]), answer("Done.")]))
    schema = msgspec.json.encode(PERSON).decode()
    run = Claude(server.url, tmp_path).run("PERSON please", options=["--json-schema", schema])
    assert run.returncode == 0
    assert run.result["structured_output"] == {"name": "Ada", "age": 36}
    (declared,) = (tool for tool in server.calls[0].request.tools if tool.function.name == "StructuredOutput")
    assert msgspec.json.decode(declared.function.parameters)["properties"] == PERSON["properties"]


def test_the_context_is_counted(serve: Serve, tmp_path: Path) -> None:
    server = serve([])
    run = Claude(server.url, tmp_path).run("/context")
    assert run.returncode == 0
    assert "| System tools |" in run.text
    # each part of the prompt was counted here, and no answer was asked for
    assert len(server.engine.counted) > 10
    assert server.calls == []


async def test_a_custom_tool_of_the_agent_sdk(serve: Serve, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    @tool("weigh", "Weighs a thing", {"thing": str})
    async def weigh(arguments: dict[str, Any]) -> dict[str, Any]:
        seen.append(arguments)
        return {"content": [{"type": "text", "text": "three pounds"}]}

    first = call("mcp__scales__weigh", thing="book")
    server = serve(conversations(WEIGH=[answer("Weighing.", calls=[first]), answer("Three pounds.")]))
    claude = Claude(server.url, tmp_path)
    options = ClaudeAgentOptions(
        mcp_servers={"scales": create_sdk_mcp_server("scales", tools=[weigh])},
        allowed_tools=["mcp__scales__weigh"],
        cwd=claude.cwd,
        env=claude.environment({"ENABLE_TOOL_SEARCH": "false"}),
        setting_sources=[],
    )
    said = [message async for message in query(prompt="WEIGH the book", options=options)]
    assert seen == [{"thing": "book"}]
    (result,) = (message for message in said if isinstance(message, ResultMessage))
    assert (result.is_error, result.result) == (False, "Three pounds.")
    assert results(server.calls[1].request) == ["three pounds"]
