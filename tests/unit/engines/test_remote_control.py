"""The control planes of vLLM and SGLang: what is asked of them, and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dragoman.engines.control import ControlNotSupportedError, EngineControl
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import EngineFaultError, InvalidRequestError, NotSupportedError
from dragoman.settings import Dialect, EngineEntry
from tests.support.fake_openai import Answer, FakeOpenAI, Route, Seen, reply

PATHS = [
    "/pause?mode=keep&clear_cache=false",
    "/pause?mode=abort&clear_cache=false",
    "/resume",
    "/sleep?level=2",
    "/wake_up",
    "/wake_up?tags=weights&tags=kv_cache",
    "/reset_prefix_cache",
    "/init_weight_transfer_engine",
    "/start_weight_update",
    "/update_weights",
    "/finish_weight_update",
    "/update_weight_version",
    "/shutdown_weight_transfer_engine",
    "/pause_generation",
    "/continue_generation",
    "/release_memory_occupation",
    "/resume_memory_occupation",
    "/flush_cache",
    "/init_weights_update_group",
    "/update_weights_from_disk",
    "/update_weights_from_distributed",
    "/destroy_weights_update_group",
]
Asked = list[tuple[str, Any]]


@asynccontextmanager
async def controlled(dialect: str, **routes: Answer) -> AsyncIterator[tuple[EngineControl, FakeOpenAI]]:
    fixed: dict[str, Route | Answer] = {path: reply({"success": True}) for path in PATHS}
    fixed |= {
        "/health": reply({}),
        "/is_paused": reply({"is_paused": False}),
        "/weight_info": reply({"weight_version": "7"}),
        "/model_info": reply({"weight_version": "8"}),
    }
    fixed |= {f"/{path}": answer for path, answer in routes.items()}
    async with FakeOpenAI(fixed) as fake:
        kind = msgspec.convert(dialect, Dialect)
        engine = RemoteInferenceEngine(EngineEntry(url=fake.url, name="e", dialect=kind))
        assert engine.control.operations == frozenset()
        assert (await engine.health()).status == "ok"
        fake.seen.clear()
        yield engine.control, fake
        await engine.aclose()


def asked(fake: FakeOpenAI) -> Asked:
    def body(seen: Seen) -> Any:
        return seen.json if seen.body else None

    return [(seen.path, body(seen)) for seen in fake.seen]


VLLM: list[tuple[str, tuple[Any, ...], Asked]] = [
    ("pause_generation", (), [("/pause?mode=keep&clear_cache=false", {})]),
    ("pause_generation", ("abort",), [("/pause?mode=abort&clear_cache=false", {})]),
    ("resume_generation", (), [("/resume", {})]),
    ("sleep", (2,), [("/sleep?level=2", {})]),
    ("wake_up", (), [("/wake_up", {})]),
    ("wake_up", (("weights", "kv_cache"),), [("/wake_up?tags=weights&tags=kv_cache", {})]),
    ("reset_prefix_cache", (), [("/reset_prefix_cache", {})]),
    (
        "init_weight_update_communicator",
        ({"a": 1},),
        [("/init_weight_transfer_engine", {"init_info": {"a": 1}})],
    ),
    (
        "update_named_weights",
        ({"names": ["w"], "weight_version": 3},),
        [
            ("/start_weight_update", {}),
            ("/update_weights", {"update_info": {"names": ["w"]}}),
            ("/finish_weight_update", {}),
            ("/update_weight_version", {"new_version": "3"}),
        ],
    ),
    ("update_named_weights", ({"weight_version": "4"},), [("/update_weight_version", {"new_version": "4"})]),
    ("teardown", (), [("/shutdown_weight_transfer_engine", {})]),
]
SGLANG: list[tuple[str, tuple[Any, ...], Asked]] = [
    ("pause_generation", (), [("/pause_generation", {"mode": "in_place"})]),
    ("pause_generation", ("abort",), [("/pause_generation", {"mode": "abort"})]),
    ("resume_generation", (), [("/continue_generation", {})]),
    ("sleep", (1,), [("/release_memory_occupation", {"tags": ["kv_cache"]})]),
    ("sleep", (2,), [("/release_memory_occupation", {"tags": ["kv_cache", "weights"]})]),
    ("wake_up", (), [("/resume_memory_occupation", {})]),
    ("wake_up", (("weights",),), [("/resume_memory_occupation", {"tags": ["weights"]})]),
    ("reset_prefix_cache", (), [("/flush_cache", {})]),
    ("init_weight_update_communicator", ({"a": 1},), [("/init_weights_update_group", {"a": 1})]),
    ("update_named_weights", ({"model_path": "x"},), [("/update_weights_from_disk", {"model_path": "x"})]),
    ("update_named_weights", ({"names": ["w"]},), [("/update_weights_from_distributed", {"names": ["w"]})]),
    ("update_named_weights", ({"weight_version": 5},), [("/update_weight_version", {"new_version": "5"})]),
    ("teardown", (), [("/destroy_weights_update_group", {})]),
]
EACH = [("vllm", *each) for each in VLLM] + [("sglang", *each) for each in SGLANG]


@pytest.mark.parametrize(("dialect", "operation", "arguments", "expected"), EACH)
async def test_each_server_is_asked_in_its_own_words(
    dialect: str, operation: str, arguments: tuple[Any, ...], expected: Asked
) -> None:
    async with controlled(dialect) as (control, fake):
        assert operation in control.operations
        await getattr(control, operation)(*arguments)
        assert asked(fake) == expected


@pytest.mark.parametrize(("dialect", "version"), [("vllm", "7"), ("sglang", "8")])
async def test_the_version_is_the_servers(dialect: str, version: str) -> None:
    async with controlled(dialect) as (control, _):
        assert await control.weight_version() == version
    async with controlled(dialect, weight_info=reply({}), model_info=reply({})) as (control, _):
        with pytest.raises(EngineFaultError, match="does not tell"):
            await control.weight_version()


async def test_a_vllm_that_is_no_development_server_has_no_controls() -> None:
    async with controlled("vllm", is_paused=reply({}, 404)) as (control, _):
        assert control.operations == frozenset()
        with pytest.raises(ControlNotSupportedError, match="the engine e"):
            await control.sleep()


async def test_other_servers_have_none() -> None:
    async with controlled("llamacpp") as (control, fake):
        assert control.operations == frozenset()
        assert not asked(fake)


async def test_sglang_cannot_wait_for_answers_to_end() -> None:
    async with controlled("sglang") as (control, fake):
        with pytest.raises(NotSupportedError, match="'wait'"):
            await control.pause_generation("wait")
        with pytest.raises(ControlNotSupportedError):
            await control.finish_session("s")
        assert not asked(fake)


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidRequestError), (422, InvalidRequestError), (500, EngineFaultError)]
)
async def test_a_failure_is_told_in_the_servers_words(status: int, error: type[Exception]) -> None:
    refused = reply({"error": {"message": "not now"}}, status)
    async with controlled("vllm", resume=refused) as (control, _):
        with pytest.raises(error, match="resume_generation: the engine e says: not now"):
            await control.resume_generation()
    silent = Answer(status=status, content_type="text/plain", pieces=[b"oops"])
    async with controlled("vllm", resume=silent) as (control, _):
        with pytest.raises(error, match=f"says: status {status}"):
            await control.resume_generation()


async def test_half_an_update_is_ended() -> None:
    async with controlled("vllm", update_weights=reply({}, 500)) as (control, fake):
        with pytest.raises(EngineFaultError):
            await control.update_named_weights({"names": ["w"], "weight_version": 3})
        assert [path for path, _ in asked(fake)] == [
            "/start_weight_update",
            "/update_weights",
            "/finish_weight_update",
        ]
