"""The control plane of many engines: each call reaches all of them, and tells of each that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from dragoman.engines.control import ControlNotSupportedError, EngineControl, Operation, PauseMode
from dragoman.errors import ApiError, DragomanError
from dragoman.routing.fleet import Fleet
from dragoman.routing.router import Router

T = TypeVar("T")


class FleetControlError(ApiError):
    """500: some engines failed a control call; `failures` has each one's message, `done` names the others."""

    default_should_retry = False

    def __init__(self, operation: Operation, failures: Mapping[str, DragomanError], done: list[str]) -> None:
        told = {name: error.message for name, error in failures.items()}
        super().__init__(
            f"{operation}: failed on {', '.join(told)}; done on {', '.join(done) or 'none'}",
            details={"engines": told, "done": done},
            log_detail="; ".join(f"{name}: {error.log_detail}" for name, error in failures.items()),
        )
        self.operation = operation
        self.failures = dict(failures)
        self.done = done


class FleetControl(EngineControl):
    """The controls that all engines have; one that none has raises `ControlNotSupportedError`.

    A pause also holds the calls that come in, which wait here until generation goes on.
    """

    def __init__(self, name: str, fleet: Fleet, router: Router) -> None:
        super().__init__(name)
        self._fleet = fleet
        self._router = router

    @property
    def operations(self) -> frozenset[Operation]:  # type: ignore[override]  # engines tell theirs late
        """What any of the engines can."""
        return frozenset[Operation]().union(*(m.engine.control.operations for m in self._fleet))

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        """Holds new calls, then pauses every engine; where one cannot, all go on as before."""
        self._router.hold()
        try:
            await self._on_all("pause_generation", lambda control: control.pause_generation(mode))
        except FleetControlError as error:
            for name in error.done:
                await self._fleet.named(name).engine.control.resume_generation()
            self._router.release()
            raise
        except BaseException:  # none has it, or the wait was cancelled: calls must not wait for ever
            self._router.release()
            raise

    async def resume_generation(self) -> None:
        """Lets all engines go on, then the calls that waited; these also where only some engines could."""
        try:
            await self._on_all("resume_generation", lambda control: control.resume_generation())
        except FleetControlError as error:
            if error.done:
                self._router.release()
            raise
        self._router.release()

    async def sleep(self, level: int = 1) -> None:
        """Frees the memory of all engines."""
        await self._on_all("sleep", lambda control: control.sleep(level))

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        """Wakes all engines."""
        await self._on_all("wake_up", lambda control: control.wake_up(tags))

    async def reset_prefix_cache(self) -> None:
        """Forgets the prefixes of all engines."""
        await self._on_all("reset_prefix_cache", lambda control: control.reset_prefix_cache())

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        """Lets every engine join the trainer's group."""
        await self._on_all(
            "init_weight_update_communicator",
            lambda control: control.init_weight_update_communicator(info),
        )

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        """Gives every engine the new weights."""
        for member in self._fleet:
            # until it is done, nobody knows which weights a token comes from
            member.weight_version = ""
        try:
            await self._on_all("update_named_weights", lambda control: control.update_named_weights(update))
        finally:
            await asyncio.gather(*(member.look_at_weights() for member in self._fleet))

    async def weight_version(self) -> str:
        """The version that all engines have; where they differ, all of them with their engines."""
        versions = await self.weight_versions()
        if len(set(versions.values())) == 1:
            return next(iter(versions.values()))
        return ", ".join(f"{name}: {version}" for name, version in versions.items())

    async def weight_versions(self) -> dict[str, str]:
        """Each engine's version."""
        return await self._on_all("weight_version", lambda control: control.weight_version())

    async def finish_session(self, session: str) -> None:
        """Frees what engines keep for a session; those that keep nothing have nothing to free."""
        await self._on_all("finish_session", lambda control: control.finish_session(session), optional=True)

    async def teardown(self) -> None:
        """Lets every engine leave the trainer's group."""
        await self._on_all("teardown", lambda control: control.teardown())

    async def _on_all(
        self,
        operation: Operation,
        call: Callable[[EngineControl], Awaitable[T]],
        *,
        optional: bool = False,
    ) -> dict[str, T]:
        """What each engine's control gave, by engine; `optional` leaves out those that have not got it."""
        controls = {member.name: member.engine.control for member in self._fleet}
        able = {name: control for name, control in controls.items() if operation in control.operations}
        if not able and not optional:
            raise ControlNotSupportedError(self.engine, operation)
        asked = able if optional else controls
        results = await asyncio.gather(*map(call, asked.values()), return_exceptions=True)
        done: dict[str, T] = {}
        failures: dict[str, DragomanError] = {}
        for name, result in zip(asked, results, strict=True):
            if isinstance(result, DragomanError):
                failures[name] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                done[name] = result
        if failures:
            raise FleetControlError(operation, failures, list(done))
        return done
