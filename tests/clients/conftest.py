"""Servers in front of scripted engines, and the official SDKs that talk to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import ScriptedCall, ScriptedInferenceEngine, Scripts
from tests.clients.python_sdk import PythonSDK
from tests.clients.sdk import SDK
from tests.clients.typescript import TypeScriptSDK
from tests.support.serving import running_server


class Served(msgspec.Struct, frozen=True):
    """A running server: its address, and the engine behind it."""

    url: str
    engine: ScriptedInferenceEngine

    @property
    def calls(self) -> list[ScriptedCall]:
        """What the engine received."""
        return self.engine.calls


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers: `serve(scripts, **settings)`; they end with the test."""
    with ExitStack() as stack:

        def start(scripts: Scripts, *, models: tuple[str, ...] = ("scripted",), **settings: Any) -> Served:
            engine = ScriptedInferenceEngine(scripts, models=models)
            return Served(stack.enter_context(running_server(engine, **settings)), engine)

        yield start


@pytest.fixture(scope="session")
def typescript() -> Iterator[TypeScriptSDK]:
    """The TypeScript SDK; its process lives as long as the tests do."""
    with TypeScriptSDK() as sdk:
        yield sdk


@pytest.fixture(params=["python", "typescript"])
def sdk(request: pytest.FixtureRequest) -> SDK:
    """Each official SDK in turn."""
    found: SDK = PythonSDK() if request.param == "python" else request.getfixturevalue("typescript")
    return found
