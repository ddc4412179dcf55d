"""Several server processes on one socket: started, watched, replaced, and stopped together."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from prometheus_client.multiprocess import mark_process_dead

from dragoman.errors import DragomanError, EngineUnavailableError
from dragoman.observe.logs import configure, log
from dragoman.observe.metrics import SHARED_FOLDER
from dragoman.server.run import Server, new_loop, serve
from dragoman.settings import Settings
from dragoman.wire.openai import ModelCard

_spawn = multiprocessing.get_context("spawn")
# Seconds before a worker that ended is replaced.
_PAUSE = 1.0
# How much longer than its own limit a worker may take to end, in seconds.
_GRACE = 10.0
# How long a worker that was killed is waited for, in seconds.
_LAST = 1.0
Standing = tuple[list[ModelCard], list[str]]
"""The models that are served, and what keeps engines from being used."""
Word = str | Standing
"""What a worker says first: how it stands, or why it does not serve."""


class Worker:
    """One process; `line` leads to it."""

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        self.line, theirs = _spawn.Pipe()
        self.process: SpawnProcess = _spawn.Process(target=work, args=(settings, sock, theirs))
        self.process.start()
        theirs.close()

    async def first_word(self) -> Word:
        """What the worker says when it is ready, or that it will not be."""
        await _readable(self.line.fileno())
        try:
            word: Word = self.line.recv()
        except EOFError:
            return "a worker process ended while it started"
        return word

    async def ended(self) -> None:
        """Waits until the process is gone."""
        await _readable(self.process.sentinel)
        self.process.join()
        self.line.close()

    def send(self, number: int) -> None:
        """Sends a signal, if anybody is there."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)


class Supervisor:
    """Keeps `settings.workers` processes running on a socket until a signal comes."""

    def __init__(
        self, settings: Settings, sock: socket.socket, on_ready: Callable[[list[ModelCard], list[str]], None]
    ) -> None:
        self._settings = settings
        self._sock = sock
        self._on_ready = on_ready
        self._workers: set[Worker] = set()
        self._were_ready = 0
        self._signals = 0

    async def run(self) -> None:
        """Returns when all workers have ended; raises what kept one of them from starting at first."""
        loop = asyncio.get_running_loop()
        folder = os.environ[SHARED_FOLDER] = tempfile.mkdtemp(prefix="dragoman-metrics-")
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            await self._keep_all()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            del os.environ[SHARED_FOLDER]
            shutil.rmtree(folder, ignore_errors=True)

    async def _keep_all(self) -> None:
        keepers = [asyncio.create_task(self._keep()) for _ in range(self._settings.workers)]
        try:
            await asyncio.gather(*keepers)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await self._stop_all()

    async def _keep(self) -> None:
        """One worker's place: it is filled as long as no signal came."""
        while not self._signals:
            worker = Worker(self._settings, self._sock)
            self._workers.add(worker)
            self._said(await worker.first_word())
            await worker.ended()
            self._gone(worker)
            if not self._signals:
                log(logging.ERROR, "a worker process ended and is replaced", {"pid": worker.process.pid or 0})
                await asyncio.sleep(_PAUSE)

    def _said(self, word: Word) -> None:
        if not isinstance(word, str):
            self._were_ready += 1
            if self._were_ready == self._settings.workers:
                self._on_ready(*word)
        elif not self._signals and self._were_ready < self._settings.workers:
            raise EngineUnavailableError(word)

    def _gone(self, worker: Worker) -> None:
        self._workers.discard(worker)
        # the counters of a dead worker stay; what it had running does not
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]  # the library has no types here

    async def _stop_all(self) -> None:
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        if self._workers:
            ends = [asyncio.create_task(worker.ended()) for worker in self._workers]
            await asyncio.wait(ends, timeout=self._settings.timeouts.shutdown + _GRACE)
        for worker in self._workers:
            worker.send(signal.SIGKILL)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        for worker in self._workers:
            worker.send(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)
        if self._signals > 1:
            for worker in self._workers:
                # they are gone at once; what they have written stays behind no longer than they
                worker.process.join(_LAST)
            shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)
            os._exit(128 + number)


def work(settings: Settings, sock: socket.socket, line: Connection) -> None:
    """A worker process: serves until SIGTERM, or until its parent is gone."""
    # Ctrl-C reaches every process of a terminal; the parent passes it on in its own way
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure(settings.log_level, settings.log_format)

    def ready(server: Server, models: list[ModelCard]) -> None:
        line.send((models, server.troubles))
        asyncio.get_running_loop().add_reader(line.fileno(), parent_gone, server)

    def parent_gone(server: Server) -> None:
        asyncio.get_running_loop().remove_reader(line.fileno())
        server.should_exit = True

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve(settings, sock, ready, signals=(signal.SIGTERM,)))
    except DragomanError as error:
        line.send(error.message)
        raise SystemExit(2) from None


async def _readable(descriptor: int) -> None:
    """Waits until a descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
