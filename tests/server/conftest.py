"""Servers in front of scripted engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import SCRIPTED_CAPABILITIES, ScriptedInferenceEngine, Scripts, answer
from dragoman.wire.capabilities import EngineCapabilities
from tests.support.serving import Running, running_server, serving


class Served(msgspec.Struct, frozen=True):
    """A running server, and the engine behind it."""

    running: Running
    engine: ScriptedInferenceEngine

    @property
    def url(self) -> str:
        """The server's address."""
        return self.running.url


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers: `serve(scripts, **settings)`; they end with the test."""
    with ExitStack() as stack:

        def start(
            scripts: Scripts | None = None,
            *,
            models: tuple[str, ...] = ("scripted",),
            capabilities: EngineCapabilities = SCRIPTED_CAPABILITIES,
            **settings: Any,
        ) -> Served:
            engine = ScriptedInferenceEngine(
                {"": answer("Hello from the script.")} if scripts is None else scripts,
                models=models,
                capabilities=capabilities,
            )
            return Served(stack.enter_context(serving(engine, **settings)), engine)

        yield start


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """The address of a server without keys, for tests that change nothing in it."""
    with running_server(ScriptedInferenceEngine({"": answer("Hello from the script.")})) as url:
        yield url
