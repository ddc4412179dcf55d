"""The engines that the contract holds for; each is started once for the module and kept.

`CONTRACT_ENGINES` may hold addresses of more servers (vLLM, SGLang), with the parrot loaded as `parrot` and a
context of 2048 tokens: the suite runs over them too. `CONTRACT_PLAIN_ENGINES`: addresses of servers that have
chats and nothing more, and tell no context (`transformers serve`). `CONTRACT_IN_PROCESS` may name engines in
this process ("vllm"); that needs their own environment (`make contract-all` makes it). `CONTRACT_ONLY`: the
one to try.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from dragoman.engines.base import InferenceEngine
from dragoman.engines.ray import RayInferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import SCRIPTED_CAPABILITIES, ScriptedInferenceEngine
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry, LocalEngine, RayActor, Settings
from tests.support.dialogues import CONTEXT, MODEL, PARROT, FakeEngine, script_for
from tests.support.ray_here import ray_here

SERVE = Path(__file__).with_name("serve_parrot.py")
START_SECONDS = 30
# Loading a model takes vLLM a minute, and more beside other work.
IN_PROCESS_START_SECONDS = 400
IN_PROCESS = [f"{name}-in-process" for name in os.environ.get("CONTRACT_IN_PROCESS", "").split()]
ADDRESSES = os.environ.get("CONTRACT_ENGINES", "").split()
PLAIN_ENGINES = os.environ.get("CONTRACT_PLAIN_ENGINES", "").split()
ONLY = os.environ.get("CONTRACT_ONLY", "")
MORE_ENGINES = [*ADDRESSES, *IN_PROCESS]
# Those that tell no context.
PLAIN = ["transformers", *PLAIN_ENGINES]
# What the parrot needs of vLLM, in the names of its settings.
VLLM_ARGUMENTS: dict[str, object] = {
    "served_model_name": MODEL,
    "max_model_len": CONTEXT,
    "enforce_eager": True,
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",
    "reasoning_parser": "qwen3",
    "enable_prompt_tokens_details": True,
    # left free, so small a model fills an object with white space without end
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}


@asynccontextmanager
async def scripted() -> AsyncIterator[InferenceEngine]:
    """The scripted engine."""
    capabilities = msgspec.structs.replace(SCRIPTED_CAPABILITIES, context_length=CONTEXT)
    yield ScriptedInferenceEngine(script_for, models=[MODEL], capabilities=capabilities)


@asynccontextmanager
async def fake(dialect: str, name: str = "") -> AsyncIterator[InferenceEngine]:
    """The remote engine against a fake server; the dialect is found by asking."""
    async with FakeEngine(dialect).server as server:
        yield RemoteInferenceEngine(EngineEntry(url=server.url, name=name))


@asynccontextmanager
async def server(address: str) -> AsyncIterator[InferenceEngine]:
    """The remote engine against a real server."""
    yield RemoteInferenceEngine(EngineEntry(url=address, models=(MODEL,)))


@asynccontextmanager
async def embedded() -> AsyncIterator[InferenceEngine]:
    """llama.cpp inside this process."""
    llamacpp = pytest.importorskip("dragoman.engines.llamacpp", reason="the extra `local` is not installed")
    yield llamacpp.LlamaCppInferenceEngine(
        str(PARROT / "parrot.gguf"), local=LocalEngine(context=CONTEXT, threads=1)
    )


def scripted_there(entry: EngineEntry) -> InferenceEngine:
    """The scripted engine, made in a Ray actor."""
    capabilities = msgspec.structs.replace(SCRIPTED_CAPABILITIES, context_length=CONTEXT)
    return ScriptedInferenceEngine(script_for, name=entry.name, models=[MODEL], capabilities=capabilities)


@asynccontextmanager
async def in_ray(**place: Any) -> AsyncIterator[InferenceEngine]:
    """An engine in a Ray actor."""
    entry = EngineEntry(name="there", ray=RayActor(num_cpus=0.1, **place))
    with ray_here():
        yield RayInferenceEngine(entry, Settings(local=LocalEngine(context=CONTEXT, threads=1)))


@asynccontextmanager
async def vllm_in_process() -> AsyncIterator[InferenceEngine]:
    """The AsyncLLM of vLLM inside this process."""
    pytest.importorskip("vllm", reason="this environment is not vLLM's; make contract-all makes one")
    from dragoman.engines.vllm import VLLMInferenceEngine

    yield VLLMInferenceEngine(str(PARROT / "hf"), VLLM_ARGUMENTS)


@asynccontextmanager
async def routed() -> AsyncIterator[InferenceEngine]:
    """Two engines as one."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(fake("vllm", name)) for name in ("left", "right")]
        yield InferenceEngineClient(engines)


@contextmanager
def llamacpp_server(*more: str) -> Iterator[str]:
    """The address of a llama.cpp server with the parrot loaded."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SERVE), str(PARROT / "parrot.gguf"), str(CONTEXT), *more]
    with Popen(command, stdout=PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        yield address
        process.kill()


@pytest.fixture(scope="module")
def parrot_address() -> Iterator[str]:
    """The address of a llama.cpp server with the parrot loaded."""
    with llamacpp_server() as address:
        yield address


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests of the one engine that `CONTRACT_ONLY` names."""
    if ONLY:
        params = [(item, getattr(item, "callspec", None)) for item in items]
        kept = [item for item, spec in params if spec is not None and spec.params.get("engine") == ONLY]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


ENGINES: dict[str, Callable[[], AbstractAsyncContextManager[InferenceEngine]]] = {
    "scripted": scripted,
    "generic": partial(fake, "generic"),
    "vllm": partial(fake, "vllm"),
    "sglang": partial(fake, "sglang"),
    "ollama": partial(fake, "ollama"),
    "transformers": partial(fake, "transformers"),
    "routed": routed,
    "ray-scripted": partial(in_ray, factory="tests.contract.conftest:scripted_there"),
    "ray-embedded": partial(in_ray, model=str(PARROT / "parrot.gguf")),
    "embedded": embedded,
    **{address: partial(server, address) for address in (*ADDRESSES, *PLAIN_ENGINES)},
    **{name: start for name, start in {"vllm-in-process": vllm_in_process}.items() if name in IN_PROCESS},
}

_RAY = [pytest.mark.engine, pytest.mark.xdist_group("ray")]
MARKS: dict[str, list[pytest.MarkDecorator]] = {
    "embedded": [pytest.mark.engine],
    "ray-scripted": _RAY,
    "ray-embedded": _RAY,
}
EMBEDDED_IN_RAY = pytest.param("ray-embedded", marks=pytest.mark.xdist_group("ray"))


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        *(pytest.param(name, marks=MARKS.get(name, [])) for name in ENGINES),
        pytest.param("llamacpp", marks=pytest.mark.engine),
    ],
)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[InferenceEngine]:
    """Each engine in turn, started."""
    kinds = ENGINES
    if request.param == "llamacpp":
        kinds = {"llamacpp": partial(server, request.getfixturevalue("parrot_address"))}
    async with kinds[request.param]() as engine:
        seconds = IN_PROCESS_START_SECONDS if request.param in IN_PROCESS else START_SECONDS
        async with asyncio.timeout(seconds):
            await engine.start()
        yield engine
        await engine.aclose()
        await engine.aclose()
