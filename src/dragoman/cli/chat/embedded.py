"""A server of our own for one conversation: on a free loopback port, in a thread of this process."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dragoman.models.progress import Report
from dragoman.observe.logs import configure
from dragoman.routing.client import build_client
from dragoman.server.run import Server, address_of, bind, new_loop, serve
from dragoman.settings import Settings, load_settings
from dragoman.wire.openai import ModelCard


class Embedded:
    """The server's thread: its way to the first request, and to its end."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._ready = threading.Event()
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._sock = bind(settings)
        self.url = address_of(self._sock)

    def run(self) -> None:
        """The thread's work: serves until `stop`."""
        with self._sock, asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopped:
            return
        client = build_client(self._settings, self._report)
        # the batches in the state folder are those of a server that is meant to answer them
        await serve(
            self._settings, self._sock, self._is_ready, client=client, signals=(), resumes_batches=False
        )

    def _is_ready(self, server: Server, models: list[ModelCard]) -> None:
        self._server = server
        self._ready.set()

    def wait(self) -> None:
        """Returns when requests are accepted, or the thread has ended."""
        self._ready.wait()

    def ended(self) -> None:
        """The thread has ended, well or not: nobody waits any longer."""
        self._ready.set()

    def stop(self) -> None:
        """Ends the server, or its start."""
        self._stopped = True
        if self._server is not None:
            self._server.should_exit = True
        elif self._loop is not None and self._task is not None:
            # a loop that has closed meanwhile has nothing to cancel
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)


@contextmanager
def embedded_server(file: Path | None, flags: dict[str, Any], report: Report) -> Iterator[tuple[str, str]]:
    """The address of a running server, and the key that opens it.

    It serves what `dragoman serve` would with the same settings: the embedded engine, or their engines.
    Raises `DragomanError` for what cannot be served.
    """
    key = secrets.token_urlsafe(32)
    own = {"host": "127.0.0.1", "port": 0, "workers": 1, "api_keys": {"chat": key}, "log_level": "error"}
    settings = load_settings(file, flags={**flags, **own})
    configure(settings.log_level, settings.log_format)
    if not settings.engines:
        report.note("starting the embedded engine")
    server = Embedded(settings, report)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(server.run)
        running.add_done_callback(lambda _: server.ended())
        try:
            server.wait()
            if running.done():
                running.result()
            yield server.url, key
        finally:
            server.stop()
