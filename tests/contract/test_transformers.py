"""What only `transformers serve` does or leaves out, on the real server (`CONTRACT_PLAIN_ENGINES`)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import EngineConfigurationError, EngineFaultError
from dragoman.settings import EngineEntry
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ToolChoice
from tests.contract.conftest import PLAIN_ENGINES
from tests.contract.test_engines import asked, expected, parts, streamed
from tests.support.dialogues import MODEL, PARROT, dialogues

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.engine]
_NONE = pytest.mark.skip(reason="CONTRACT_PLAIN_ENGINES names no server; make contract-all starts it")
_SERVERS: list[Any] = PLAIN_ENGINES or [pytest.param("transformers", marks=_NONE)]
SERVERS = pytest.mark.parametrize("engine", _SERVERS, indirect=True, scope="module")


@SERVERS
async def test_what_is_found_is_what_it_can(engine: InferenceEngine) -> None:
    assert await engine.capabilities(MODEL) == EngineCapabilities(
        forced_tools=False, structured_output=False, reasoning=True, reasoning_switch=True
    )


@SERVERS
async def test_its_model_is_found_without_a_name(
    engine: InferenceEngine, request: pytest.FixtureRequest
) -> None:
    found = RemoteInferenceEngine(EngineEntry(url=request.node.callspec.params["engine"]))
    assert (await found.dialect()).name == "transformers"
    assert [card.id for card in await found.models()] == [MODEL]
    with pytest.raises(EngineConfigurationError):
        await found.chat_completion(msgspec.structs.replace(asked("hello"), model="other"))
    await found.aclose()


@SERVERS
async def test_a_temperature_and_a_cut_of_the_sampling_hold(engine: InferenceEngine) -> None:
    request = asked("hello/nothink", temperature=50.0, max_tokens=30)
    assert parts(await streamed(engine, request)) != expected("hello/nothink")
    surest = msgspec.structs.replace(request, top_k=1)
    assert parts(await streamed(engine, surest)) == expected("hello/nothink")


@SERVERS
async def test_a_call_that_is_cut_ends_the_answer_and_is_no_error(engine: InferenceEngine) -> None:
    request = asked("call-Paris", max_tokens=25)
    for completion in (await engine.chat_completion(request), await streamed(engine, request)):
        choice = completion.choices[0]
        assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)


@SERVERS
async def test_a_call_that_is_no_json_is_the_engines_fault(engine: InferenceEngine) -> None:
    listed: list[dict[str, Any]] = msgspec.json.decode((PARROT / "dialogues.json").read_bytes())
    broken = next(one["messages"] for one in listed if one["malformed"])
    turns = [msgspec.structs.replace(asked("hello").messages[0], content=broken[-1]["content"])]
    request = asked("call-Paris", messages=turns)
    for attempt in (engine.chat_completion, lambda one: streamed(engine, one)):
        with pytest.raises(EngineFaultError):
            await attempt(request)


@SERVERS
async def test_no_call_comes_where_none_may(engine: InferenceEngine) -> None:
    assert dialogues()["call-Paris"].calls
    completion = await engine.chat_completion(asked("call-Paris", tool_choice=ToolChoice("none")))
    assert completion.choices[0].message.tool_calls is None
