"""The embedded engine as an engine: the parrot plays its script, and what cannot start says why."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.engines.llamacpp import engine as engine_module
from dragoman.engines.llamacpp.aided import AidedInferenceEngine
from dragoman.engines.llamacpp.server import LlamaServer
from dragoman.engines.registry import build_engines
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import EngineUnavailableError, OverloadedError, SettingsError
from dragoman.models import LocalModel, PromptAids, find
from dragoman.settings import EngineEntry, LocalEngine, Settings, Timeouts
from dragoman.wire.openai import ChatMessage, ChatRequest
from tests.support.dialogues import PARROT, Dialogue, dialogues

MODEL_FILE = str(PARROT / "parrot.gguf")
LOCAL = LocalEngine(context=4096, parallel=2, threads=1)

pytestmark = pytest.mark.engine


def case(name: str) -> Dialogue:
    """The parrot's case of that name."""
    beyond = msgspec.json.decode((PARROT / "beyond.json").read_bytes(), type=list[Dialogue])
    return next(found for found in [*dialogues().values(), *beyond] if found.name == name)


@pytest.fixture
async def engine() -> AsyncIterator[LlamaCppInferenceEngine]:
    """The parrot, loaded."""
    made = LlamaCppInferenceEngine(MODEL_FILE, local=LOCAL)
    await made.start()
    yield made
    await made.aclose()


async def test_it_serves_the_model_under_its_name(engine: LlamaCppInferenceEngine) -> None:
    assert [(card.id, card.context_length) for card in await engine.models()] == [("parrot", 4096)]
    capabilities = await engine.capabilities("parrot")
    assert (capabilities.context_length, capabilities.reasoning, capabilities.counting) == (4096, True, True)
    assert (await engine.health()).status == "ok"


@pytest.mark.parametrize("name", ["hello", "scripts/nothink", "call-Oslo/sys", "result-Rome", "fallback-3"])
async def test_the_parrot_plays_its_script(name: str, engine: LlamaCppInferenceEngine) -> None:
    told = case(name)
    answer = (await engine.chat_completion(told.request)).choices[0].message
    calls = [
        (call.function.name, msgspec.json.decode(call.function.arguments or ""))
        for call in answer.tool_calls or []
        if call.function is not None
    ]
    assert (answer.content or "").strip() == told.text
    assert (answer.reasoning or "").strip() == told.thinking
    assert calls == told.calls


async def test_the_count_is_what_the_usage_says(engine: LlamaCppInferenceEngine) -> None:
    asked = case("call-Paris/sys").request
    counted = await engine.count_tokens(asked)
    usage = (await engine.chat_completion(asked)).usage
    assert usage is not None
    assert counted == usage.prompt_tokens


async def busy(engine: LlamaCppInferenceEngine) -> bool:
    """Whether llama.cpp computes anything."""
    slots = msgspec.json.decode((await engine._transport.ask("/slots")).body)
    return any(slot["is_processing"] for slot in slots)


async def until_idle(engine: LlamaCppInferenceEngine) -> None:
    """Waits until llama.cpp computes nothing."""
    async with asyncio.timeout(30):
        while await busy(engine):  # noqa: ASYNC110 - llama.cpp gives no event to wait for
            await asyncio.sleep(0.01)


async def computed(engine: LlamaCppInferenceEngine) -> dict[str, int]:
    """Tokens that llama.cpp computed so far, of prompts and of answers."""
    text = (await engine._transport.ask("/metrics")).body.decode()
    found = re.findall(r"^llamacpp:(prompt|tokens_predicted)(?:_tokens)?_total (\d+)$", text, re.MULTILINE)
    return {kind: int(count) for kind, count in found}


def song() -> ChatRequest:
    """A request whose answer goes on until the context of 4096 tokens is full."""
    return msgspec.structs.replace(case("sing").request, max_tokens=None)


def long_prompt() -> ChatRequest:
    """A request whose prompt is most of the context."""
    words = " ".join(f"{number} word" for number in range(500))
    return ChatRequest(model="parrot", messages=[ChatMessage(role="user", content=words)], max_tokens=1)


async def test_an_answer_that_nobody_ends_is_computed_to_its_end(engine: LlamaCppInferenceEngine) -> None:
    # what the tests below hold their figures against
    await engine.chat_completion(song())
    await engine.chat_completion(long_prompt())
    figures = await computed(engine)
    assert figures["tokens_predicted"] > 4000
    assert figures["prompt"] > 3000


async def test_closing_a_stream_ends_the_work(engine: LlamaCppInferenceEngine) -> None:
    stream = await engine.stream_chat_completion(song())
    await stream.__anext__()
    await stream.aclose()
    await until_idle(engine)
    assert (await computed(engine))["tokens_predicted"] < 2000


async def test_cancelling_a_whole_answer_ends_the_work(engine: LlamaCppInferenceEngine) -> None:
    asked = asyncio.ensure_future(engine.chat_completion(song()))
    while not await busy(engine):  # noqa: ASYNC110 - llama.cpp gives no event to wait for
        await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.wait({asked})
    await until_idle(engine)
    assert asked.cancelled()
    assert (await computed(engine))["tokens_predicted"] < 2000


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_prompt_is_not_read_on_for_nobody(engine: LlamaCppInferenceEngine, streamed: bool) -> None:
    async def ask() -> None:
        if not streamed:
            await engine.chat_completion(long_prompt())
            return
        stream = await engine.stream_chat_completion(long_prompt())
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()

    await engine.capabilities("parrot")
    asked = asyncio.ensure_future(ask())
    while not await busy(engine):  # noqa: ASYNC110 - llama.cpp gives no event to wait for
        await asyncio.sleep(0.001)
    asked.cancel()
    await asyncio.wait({asked})
    await until_idle(engine)
    assert asked.cancelled()
    assert (await computed(engine))["prompt"] < 2000


async def test_it_takes_two_requests_at_a_time(engine: LlamaCppInferenceEngine) -> None:
    first, second = case("count/nothink"), case("hello/nothink")
    answers = await asyncio.gather(
        engine.chat_completion(first.request), engine.chat_completion(second.request)
    )
    texts = [answer.choices[0].message.content for answer in answers]
    assert texts == [first.text, second.text]


async def test_another_engine_can_share_what_is_loaded(engine: LlamaCppInferenceEngine) -> None:
    assert engine.entry.models == ("parrot",)
    other = RemoteInferenceEngine(engine.entry)
    answer = await other.chat_completion(case("hello/nothink").request)
    assert answer.choices[0].message.content == case("hello/nothink").text
    await other.aclose()


async def test_before_its_start_it_is_loading_and_takes_nothing() -> None:
    engine = LlamaCppInferenceEngine(MODEL_FILE, local=LOCAL)
    assert engine.params is None
    assert engine.entry.models == ()
    assert (await engine.health()).status == "loading"
    with pytest.raises(OverloadedError):
        await engine.chat_completion(case("hello").request)
    await engine.aclose()


async def test_after_its_end_the_model_is_gone(engine: LlamaCppInferenceEngine) -> None:
    await engine.aclose()
    await engine.aclose()
    assert engine.params is None
    assert (await engine.health()).status == "loading"


async def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_text("no model")
    for model, local, error, words in (
        (str(tmp_path / "absent.gguf"), LOCAL, EngineUnavailableError, "no model file at"),
        (str(other), LOCAL, EngineUnavailableError, "is not a usable GGUF model file"),
        ("gpt-9", LOCAL, EngineUnavailableError, "no model is named 'gpt-9'"),
        (MODEL_FILE, LocalEngine(context=99999), SettingsError, r"local\.context"),
    ):
        with pytest.raises(error, match=words):
            await LlamaCppInferenceEngine(model, local=local).start()


async def test_a_load_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaServer, "start", lambda params: time.sleep(0.5))
    engine = LlamaCppInferenceEngine(MODEL_FILE, local=LOCAL, timeouts=Timeouts(load=0.01))
    with pytest.raises(EngineUnavailableError, match=r"longer than timeouts\.load \(0\.01 s\)"):
        await engine.start()
    await engine.aclose()


async def test_nothing_is_fetched_for_a_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing() -> None:
        raise EngineUnavailableError("the embedded engine is not installed")

    monkeypatch.setattr(engine_module, "load_library", missing)
    engine = LlamaCppInferenceEngine(local=LocalEngine(cache_dir=str(tmp_path / "cache")))
    with pytest.raises(EngineUnavailableError, match="not installed"):
        await engine.start()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_model_of_the_catalogue_brings_its_aids(
    monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    aids = PromptAids(marks=("<tool_call>",))

    async def found(*_: object) -> LocalModel:
        return LocalModel(name="parrot", path=Path(MODEL_FILE), aids=aids)

    monkeypatch.setattr(engine_module, "locate", found)
    local = msgspec.structs.replace(LOCAL, prompt_aids=wanted)
    engine = LlamaCppInferenceEngine("parrot", local=local)
    assert engine.entry.aids == ""
    await engine.start()
    # a worker process finds them again by the model's name
    assert engine.entry.aids == ("parrot" if wanted else "")
    assert (await engine.capabilities("parrot")).parallel_tools == (not wanted)
    await engine.aclose()


def test_an_entry_with_aids_makes_an_aided_engine() -> None:
    name = find("").name
    entry = EngineEntry(url="http://127.0.0.1:1", dialect="llamacpp", aids=name)
    plain = EngineEntry(url="http://127.0.0.1:2")
    kinds = [type(engine) for engine in build_engines(Settings(engines=(entry, plain)))]
    assert kinds == [AidedInferenceEngine, RemoteInferenceEngine]
