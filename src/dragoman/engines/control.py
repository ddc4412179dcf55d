"""The control plane of an engine: what a trainer asks of it beside answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from dragoman.errors import NotSupportedError

PauseMode = Literal["keep", "abort", "wait"]
Operation = Literal[
    "pause_generation",
    "resume_generation",
    "sleep",
    "wake_up",
    "reset_prefix_cache",
    "init_weight_update_communicator",
    "update_named_weights",
    "weight_version",
    "finish_session",
    "teardown",
]


class ControlNotSupportedError(NotSupportedError):
    """501: this engine has not got this control; the message names both."""

    def __init__(self, engine: str, operation: Operation) -> None:
        super().__init__(f"{operation}: the engine {engine} cannot do this")
        self.engine = engine
        self.operation = operation


class EngineControl:
    """The controls of one engine. `operations` says which it has; each other one raises its named error.

    This class has none: engines override what they can do.
    """

    operations: frozenset[Operation] = frozenset()

    def __init__(self, engine: str) -> None:
        self.engine = engine

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        """Holds all generation; calls that come meanwhile wait.

        keep: running answers stand still and go on exactly where they were. abort: they end with what they
        have, finish reason "abort". wait: returns when they have ended by themselves.
        """
        self._missing("pause_generation")

    async def resume_generation(self) -> None:
        """Lets generation go on; without a pause it does nothing."""
        self._missing("resume_generation")

    async def sleep(self, level: int = 1) -> None:
        """Frees the accelerator's memory. Level 1 keeps the weights outside it, level 2 drops them."""
        self._missing("sleep")

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        """Takes memory again: all of it, or what the tags name ("weights", "kv_cache")."""
        self._missing("wake_up")

    async def reset_prefix_cache(self) -> None:
        """Forgets all cached prefixes, as their keys and values belong to older weights."""
        self._missing("reset_prefix_cache")

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        """Joins the group over which a trainer sends weights; `info` is the engine's own."""
        self._missing("init_weight_update_communicator")

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        """Takes new weights; `update` is the engine's own, with a text `weight_version` where known."""
        self._missing("update_named_weights")

    async def weight_version(self) -> str:
        """Which weights answer now, as the last update named them."""
        self._missing("weight_version")

    async def finish_session(self, session: str) -> None:
        """Frees what is kept for a session; unknown ones are none to free."""
        self._missing("finish_session")

    async def teardown(self) -> None:
        """Leaves the group that `init_weight_update_communicator` joined."""
        self._missing("teardown")

    def _missing(self, operation: Operation) -> NoReturn:
        raise ControlNotSupportedError(self.engine, operation)
