"""Worker processes: started when there is work, used again, replaced when they end."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys

import msgspec

from dragoman.content.pages import MODULES, Job, Page
from dragoman.content.refusal import ContentError
from dragoman.content.worker import LENGTH, MEMORY, OUT_OF_MEMORY, Outcome, Refused
from dragoman.errors import ApiError
from dragoman.observe.logs import log

INSTALL = "pip install 'dragoman[documents]'"
# Seconds until a new process, which loads its libraries, must be ready; and until a told one has ended.
_START = 60.0
_END = 5.0
# The rest of the environment may hold keys, which a document has no use for.
_KEPT = ("PATH", "LANG", "LC_", "LD_", "DYLD_", "PYTHON", "VIRTUAL_ENV", "TMPDIR", "HOME", "COVERAGE_")
_MEMORY = f"{MEMORY >> 30} GiB"
# A document that ends a worker is tried once more: the worker may have been ended by somebody else.
_TRIES = 2


class WorkerEnded(Exception):  # noqa: N818 - an event of a worker's life
    """A worker ended where an answer was awaited; `code` is its exit status, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls) -> Worker:
        """A process that is ready for work; `ApiError` where none can be started."""
        try:
            worker = cls(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "dragoman.content.worker"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={name: value for name, value in os.environ.items() if name.startswith(_KEPT)},
                    # Ctrl-C in a terminal is the server's business
                    start_new_session=True,
                )
            )
        except OSError as error:
            raise _no_worker(str(error)) from error
        try:
            async with asyncio.timeout(_START):
                await worker._answer()
        except (TimeoutError, WorkerEnded) as error:
            await worker.kill()
            raise _no_worker(repr(error)) from error
        except BaseException:  # whatever ends the wait, cancellation above all: nobody else knows the process
            await worker.kill()
            raise
        return worker

    async def ask(self, job: Job) -> Outcome:
        """What became of a document; `WorkerEnded` where the process did not live to tell."""
        data = msgspec.msgpack.encode(job)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(data)))
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            # uvloop says that a pipe is closed with a RuntimeError
            raise WorkerEnded(await self._ended()) from None
        outcome: Outcome = msgspec.msgpack.decode(await self._answer(), type=Outcome)
        return outcome

    async def kill(self) -> int:
        """Ends the process at once; its exit status."""
        if self._process.returncode is None:
            self._process.kill()
        return await self._process.wait()

    async def end(self) -> None:
        """Lets the process end by itself, for a while."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._ended()

    async def _ended(self) -> int:
        """The status of a process that is about to end. A signal sent now could take it from asyncio."""
        try:
            async with asyncio.timeout(_END):
                return await self._process.wait()
        except TimeoutError:
            return await self.kill()

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None
        try:
            (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
            return await self._process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerEnded(await self._ended()) from None


class WorkerPool:
    """At most `size` workers, each with one document at a time; more documents wait."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def read(self, job: Job) -> list[Page]:
        """The pages of a document; `ContentError` says what is wrong with it."""
        if not is_installed():
            raise ContentError(f"this server lacks what reads PDFs: {INSTALL}")
        code = 0
        async with self._free:
            for attempt in range(_TRIES):
                # the second time a new one: the idle ones may all have been ended
                worker = self._idle.pop() if self._idle and not attempt else await Worker.start()
                try:
                    outcome = await self._ask(worker, job)
                except WorkerEnded as ended:
                    code = ended.code
                    log(logging.WARNING, "a process that reads documents ended", {"code": code})
                else:
                    break
            else:
                raise _fatal(code)
        if isinstance(outcome, Refused):
            raise ContentError(outcome.reason)
        return outcome.pages

    async def aclose(self) -> None:
        """Ends the processes that have no work. Safe to call twice; later work starts new ones."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(worker.end() for worker in idle))

    async def _ask(self, worker: Worker, job: Job) -> Outcome:
        self._busy.add(worker)
        try:
            async with asyncio.timeout(job.seconds):
                outcome = await worker.ask(job)
        except TimeoutError:
            await worker.kill()
            raise ContentError(f"it takes longer than {job.seconds:g} s (documents.seconds)") from None
        except BaseException:  # cancelled, or dead: a worker in the middle of its work serves nobody else
            await worker.kill()
            raise
        finally:
            self._busy.discard(worker)
        self._idle.append(worker)
        return outcome


def is_installed() -> bool:
    """Whether the extra that reads PDFs is there."""
    return all(importlib.util.find_spec(name.partition(".")[0]) is not None for name in MODULES)


def _fatal(code: int) -> ContentError:
    if code == OUT_OF_MEMORY:
        return ContentError(f"reading it takes more than the {_MEMORY} of memory that a document has")
    # a library that is written in C ends with the process where it gets no memory
    return ContentError(
        f"the process that read it ended, twice: it may need more than the {_MEMORY} of memory that it has"
    )


def _no_worker(detail: str) -> ApiError:
    return ApiError(
        "the process that reads documents cannot be started; the server's log says why", log_detail=detail
    )
