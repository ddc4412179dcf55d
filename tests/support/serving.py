"""Servers for tests: one in a thread over any engine, and the real command in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dragoman.engines.base import InferenceEngine
from dragoman.server.app import DragomanApp, create_app
from dragoman.server.run import Server, address_of, bind, new_loop
from dragoman.service import MessagesService
from dragoman.settings import Settings
from dragoman.wire.openai import ModelCard

_READY = re.compile(r"(?:ready|up) on (http://[^\s,]+)[\s,]")


class Running:
    """A server in a thread of its own."""

    def __init__(
        self,
        engine: InferenceEngine | MessagesService,
        settings: Settings,
        sock: socket.socket,
        *,
        resumes_batches: bool = True,
    ) -> None:
        self.settings = settings
        self.app: DragomanApp = create_app(engine, settings)
        self.url = address_of(sock)
        self._sock = sock
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._server = Server(self.app, settings, self._is_ready, signals=(), resumes_batches=resumes_batches)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns when requests are accepted; raises what prevents it."""
        self._thread.start()
        self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def begin_stop(self) -> None:
        """Does what a first signal does, and returns at once."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Ends the server, and waits for it."""
        self.begin_stop()
        self._thread.join(self.settings.timeouts.shutdown + 20)
        assert not self._thread.is_alive(), "the server does not end"

    def _is_ready(self, server: Server, models: list[ModelCard]) -> None:
        self._ready.set()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 - raised again where the server was started
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        service = self.app.service
        try:
            await service.client.start()
            await self._server.serve([self._sock])
        finally:
            await service.aclose()


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Settings for a test: any free port, little patience at the end, and what the test says.

    `timeouts` and `limits` may be given in part, as tables.
    """
    given: dict[str, Any] = {"port": 0, **values}
    given["timeouts"] = {"shutdown": 1.0, **given.get("timeouts", {})}
    return msgspec.convert(given, Settings)


@contextmanager
def serving(
    engine: InferenceEngine | MessagesService, *, resumes_batches: bool = True, **settings: Any
) -> Iterator[Running]:
    """A running server over an engine, a client of many or a service; ended at the end of the block."""
    made = settings_of(settings)
    running = Running(engine, made, bind(made), resumes_batches=resumes_batches)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def running_server(engine: InferenceEngine, **settings: Any) -> Iterator[str]:
    """The address of a running server over an engine or a client of many."""
    with serving(engine, **settings) as running:
        yield running.url


class Process:
    """The command `dragoman serve` in a process of its own; `url` is where it says that it is."""

    def __init__(self, arguments: tuple[str, ...], environ: Mapping[str, str], cwd: Path | None) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "dragoman", "serve", "--port", "0", *arguments],
            env={**kept, "PYTHONUNBUFFERED": "1", **environ},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        self.url = self._await_url()

    def _await_url(self, seconds: float = 60.0) -> str:
        until = time.monotonic() + seconds
        out = self.popen.stdout
        assert out is not None
        while time.monotonic() < until:
            if select.select([out], [], [], 0.2)[0]:
                # not through the file object, which would keep what it has read beyond the line
                piece = os.read(out.fileno(), 65536).decode()
                self.said += piece
                if found := _READY.search(self.said):
                    return found[1]
                if not piece:
                    break
        self.popen.kill()
        _, errors = self.popen.communicate()
        raise RuntimeError(f"the server is not ready: {self.said}{errors}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal."""
        self.popen.send_signal(number)

    def ended(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Exit status, output and errors, when it has ended."""
        out, errors = self.popen.communicate(timeout=seconds)
        return self.popen.returncode, self.said + out, errors


@contextmanager
def dragoman_process(
    *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Process]:
    """The real command, ready on a free port; killed at the end of the block where it still runs."""
    process = Process(arguments, environ or {}, cwd)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.signal()
            try:
                process.ended(15)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.ended()
