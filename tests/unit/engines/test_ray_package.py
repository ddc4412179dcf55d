"""Ray as a package that need not be there, and entries that name it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from dragoman.engines.ray import RayInferenceEngine
from dragoman.errors import EngineUnavailableError
from dragoman.settings import EngineEntry, RayActor


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
