"""The runner of batches: one process per state folder answers their requests, a few at a time."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from dragoman.errors import (
    ApiError,
    DragomanError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
)
from dragoman.observe.logs import Fields, log, log_error
from dragoman.routing.session import session_key
from dragoman.service.service import MessagesService
from dragoman.settings import Settings
from dragoman.store.interface import OpenBatch, PendingRequest, ResultKind
from dragoman.wire.anthropic.batches import CanceledResult, ErroredResult, ExpiredResult, SucceededResult
from dragoman.wire.anthropic.codec import decode_messages, unknown_fields
from dragoman.wire.anthropic.errors import envelope_of
from dragoman.wire.identity import Caller

LOCK_NAME = "batches.lock"
# Seconds between two looks at what other processes may have added, canceled or left.
_LOOK = 1.0
_SWEEP = 3600.0
# Seconds that a batch rests after an engine said that it is full, unless the engine says how long.
_FIRST_REST, _LONGEST_REST = 1.0, 60.0

Outcome = tuple[ResultKind, bytes]


class BatchRunner:
    """Answers the requests of all batches in the store; `start` begins, `aclose` ends it.

    Several processes may share the store: one of them holds the lock and runs, the others wait for its end.
    What was in flight when a process ended has no result, and runs again. `ready` is awaited before a
    request runs; `ids` makes an id from its prefix.
    """

    def __init__(
        self,
        service: MessagesService,
        settings: Settings,
        *,
        ids: Callable[[str], str],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._service = service
        self._store = service.store
        self._settings = settings
        self._ids = ids
        self._ready = ready
        self._lock = Lock(settings.state_path / LOCK_NAME)
        self._lanes: dict[str, _Lane] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._next_sweep = 0.0

    def start(self) -> None:
        """Begins to run, in the running loop, unless it does."""
        if self._main is None:
            self._main = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Looks at once for what is new."""
        self.start()
        self._wake.set()

    async def aclose(self) -> None:
        """Stops, and leaves to the next process what has no result yet. Safe to call twice."""
        main, self._main = self._main, None
        tasks = [task for task in (main, *self._answers) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()
        self._lock.release()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                # nothing was ever stored: then nothing is opened either
                if self._store.is_there and self._lock.acquire():
                    await self._look()
            except DragomanError as error:
                log(logging.WARNING, "batches cannot go on now", {"detail": error.log_detail})
            except Exception as error:  # noqa: BLE001 - whatever fails, the next look may do better
                log(logging.ERROR, "batches cannot go on now", {}, error)
            # not `wait_for`: up to Python 3.11 it forgets that it was cancelled when what it waits for comes
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()

    def _pause(self) -> float:
        """How long nothing has to be looked at, unless something happens."""
        now = asyncio.get_running_loop().time()
        rests = [lane.rests_until - now for lane in self._lanes.values() if lane.rests_until > now]
        return min([_LOOK, *rests])

    async def _look(self) -> None:
        """One look at all batches: what is over is given up, and free places are filled."""
        if asyncio.get_running_loop().time() >= self._next_sweep:
            await self._store.sweep()
            self._next_sweep = asyncio.get_running_loop().time() + _SWEEP
        batches = {batch.id: batch for batch in await self._store.batches.unended()}
        for new in batches.keys() - self._lanes.keys():
            log(logging.INFO, "batch runs", {"batch": new, "key": batches[new].scope})
        self._lanes = {
            batch_id: self._lanes.get(batch_id) or _Lane(batch) for batch_id, batch in batches.items()
        }
        for batch_id, lane in self._lanes.items():
            lane.batch = batches[batch_id]
            await self._give_up(lane)
        while len(self._answers) < self._settings.batches.concurrency and await self._begin():
            continue

    async def _give_up(self, lane: _Lane) -> None:
        """Settles what has not begun, once the batch is canceled or has expired."""
        if lane.batch.cancel_initiated is not None:
            outcome: Outcome = ("canceled", msgspec.json.encode(CanceledResult()))
        elif lane.batch.expires <= self._store.clock():
            outcome = ("expired", msgspec.json.encode(ExpiredResult()))
        else:
            return
        lane.close()
        if await self._store.batches.give_up(lane.batch.id, *outcome, lane.running):
            self._ended(lane)

    async def _begin(self) -> bool:
        """Begins one more request, of the batch that has the fewest in flight; False where there is none."""
        now = asyncio.get_running_loop().time()
        for lane in sorted(self._lanes.values(), key=lambda lane: len(lane.running)):
            if lane.is_closed or lane.rests_until > now:
                continue
            if not lane.waiting and not lane.is_read:
                lane.add(
                    await self._store.batches.pending(
                        lane.batch.id, lane.reached, self._settings.batches.concurrency
                    )
                )
            if lane.waiting:
                request = lane.waiting.popleft()
                lane.running.add(request.number)
                task = asyncio.get_running_loop().create_task(self._answer(lane, request))
                self._answers.add(task)
                task.add_done_callback(self._answered)
                return True
        return False

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        self._wake.set()

    async def _answer(self, lane: _Lane, request: PendingRequest) -> None:
        try:
            outcome = await self._outcome(lane.batch, request)
            lane.recover()
            if await self._store.batches.finish(lane.batch.id, request.number, *outcome):
                self._ended(lane)
        except DragomanError as error:
            # the engine is full, or the store is in trouble: nothing was committed
            lane.rest(error.retry_after, asyncio.get_running_loop().time())
            lane.put_back(request)
        finally:
            lane.running.discard(request.number)

    async def _outcome(self, batch: OpenBatch, request: PendingRequest) -> Outcome:
        """The result of a request; raises what another try may mend."""
        request_id = self._ids("req")
        noted: Fields = {"id": request_id, "batch": batch.id, "number": request.number}
        try:
            message = await self._message(batch, request.params, request_id)
            log(logging.INFO, "request of a batch", noted)
            return "succeeded", message
        except (OverloadedError, RateLimitError) as error:
            log_error(request_id, error)
            if error.should_retry is not False:
                raise
            failure: DragomanError = error
        except DragomanError as error:
            log_error(request_id, error)
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever fails, the request has a result and the others go on
            log(logging.ERROR, "unexpected failure", noted, error)
            failure = ApiError("internal server error")
        log(logging.INFO, "request of a batch", noted | {"error": failure.type})
        return "errored", msgspec.json.encode(ErroredResult(envelope_of(failure, request_id)))

    async def _message(self, batch: OpenBatch, params: bytes, request_id: str) -> bytes:
        request = decode_messages(params)
        if request.stream:
            raise InvalidRequestError("stream: a request of a batch cannot be streamed")
        if self._settings.strict:
            for path in unknown_fields(params):
                raise InvalidRequestError(f"{path}: Extra inputs are not permitted")
        caller = Caller(
            request_id=request_id,
            scope=batch.scope,
            session=session_key(request, {}),
            betas=batch.betas,
            api_version=batch.api_version,
        )
        await self._ready()
        answer = await self._service.create(request, caller, size=len(params))
        # what a batch is answered is kept for who made it
        await answer.recording.delivered()
        usage = msgspec.structs.replace(answer.message.usage, service_tier="batch")
        message = msgspec.structs.replace(answer.message, usage=usage)
        return msgspec.json.encode(SucceededResult(message))

    def _ended(self, lane: _Lane) -> None:
        log(logging.INFO, "batch ended", {"batch": lane.batch.id, "key": lane.batch.scope})


class _Lane:
    """A batch that runs: what was read of it, what is in flight, and when it may go on."""

    def __init__(self, batch: OpenBatch) -> None:
        self.batch = batch
        self.waiting: deque[PendingRequest] = deque()
        self.running: set[int] = set()
        self.reached = -1
        self.is_read = False
        self.is_closed = False
        self.rests_until = 0.0
        self._rest = 0.0

    def add(self, requests: Sequence[PendingRequest]) -> None:
        """More of its requests; none means that there are no more."""
        self.waiting.extend(requests)
        self.is_read = not requests
        if requests:
            self.reached = requests[-1].number

    def close(self) -> None:
        """Nothing of it begins any more."""
        self.waiting.clear()
        self.is_closed = True

    def put_back(self, request: PendingRequest) -> None:
        """A request that has to run again."""
        self.waiting.appendleft(request)

    def rest(self, seconds: float | None, now: float) -> None:
        """Nothing of it begins for some time, longer after each rest that did not help."""
        if now >= self.rests_until:
            self._rest = min(max(2 * self._rest, _FIRST_REST), _LONGEST_REST)
        self.rests_until = max(self.rests_until, now + (self._rest if seconds is None else seconds))

    def recover(self) -> None:
        """A request had its result: there is no more reason to rest long."""
        self._rest = 0.0


class Lock:
    """An exclusive lock on a file between processes; it ends with the process that holds it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether this process holds the lock now; it does not wait."""
        if self._descriptor is not None:
            return True
        descriptor = -1
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise ApiError("the lock cannot be used", log_detail=str(error)) from error
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Lets another process have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
