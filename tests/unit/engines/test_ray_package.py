"""Ray as a package that need not be there, and entries that name it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from dragoman.engines.ray import RayInferenceEngine
from dragoman.engines.ray.values import Recipe
from dragoman.engines.vllm import VLLMInferenceEngine
from dragoman.errors import EngineUnavailableError
from dragoman.settings import EngineEntry, Ray, RayActor, Settings


def test_ray_is_imported_by_who_uses_it_only() -> None:
    code = "import dragoman, dragoman.cli.main, dragoman.server.run, sys; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineUnavailableError, match=r"dragoman\[ray\]"):
        asyncio.run(RayInferenceEngine(EngineEntry(name="there", ray=RayActor())).start())


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({}, "url is missing"),
        ({"ray": RayActor()}, "needs a name"),
        ({"url": "http://a", "name": "a", "ray": RayActor(model="m")}, "only one of"),
    ],
)
def test_an_entry_must_say_what_its_engine_is(entry: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        EngineEntry(**entry)


def test_vllm_runs_in_an_actor_as_its_entry_says() -> None:
    entry = EngineEntry(kind="vllm", model="/a/model", name="left", ray=RayActor(num_gpus=1))
    made = Recipe.of(entry, Settings(workers=2, engines=(entry,))).engine()
    assert (type(made), made.name) == (VLLMInferenceEngine, "left")


def test_an_engine_in_this_process_is_loaded_once() -> None:
    with pytest.raises(ValueError, match="workers: an engine in this process needs 1 of them"):
        Settings(workers=2, engines=(EngineEntry(kind="vllm", model="/a/model"),))


def test_bounds_that_leave_no_number_of_replicas_are_refused() -> None:
    with pytest.raises(ValueError, match="min_replicas is above max_replicas"):
        Ray(min_replicas=3, max_replicas=2)


def test_the_admin_key_is_no_clients_key() -> None:
    with pytest.raises(ValueError, match="admin_key: is also one of api_keys"):
        Settings(api_keys={"a": "k"}, admin_key="k")
