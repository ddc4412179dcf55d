"""The control planes of remote servers: vLLM's development endpoints and SGLang's, as they spell them.

Checked on vLLM 0.32 (served with `VLLM_SERVER_DEV_MODE=1`, without which it has none of these) and SGLang
0.5.23. On a CPU sleeping frees nothing; weights over a group of trainers were not tried there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from dragoman.engines.control import EngineControl, Operation, PauseMode
from dragoman.engines.dialects.base import Ask, Reply
from dragoman.engines.dialects.errors import words_of
from dragoman.errors import EngineFaultError, InvalidRequestError, NotSupportedError

# How much of an engine's own words an error repeats.
_LONGEST = 300


class RemoteControl(EngineControl):
    """What asking a server has in common. Failures raise `DragomanError`s with the engine's own words."""

    def __init__(self, engine: str, ask: Ask) -> None:
        super().__init__(engine)
        self._ask = ask

    async def _post(
        self, operation: Operation, path: str, body: Mapping[str, Any] | None = None, **query: Any
    ) -> Reply:
        said = [(name, value) for name, value in query.items() if value is not None]
        where = f"{path}?{urlencode(said, doseq=True)}" if said else path
        return self._done(operation, await self._ask(where, body or {}))

    def _done(self, operation: Operation, reply: Reply) -> Reply:
        if reply.status == 200:
            return reply
        words = words_of(reply.body)[:_LONGEST] or f"status {reply.status}"
        kind = InvalidRequestError if reply.status in {400, 422} else EngineFaultError
        raise kind(f"{operation}: the engine {self.engine} says: {words}")


class _Version(msgspec.Struct):
    weight_version: str


class VLLMControl(RemoteControl):
    """vLLM: weights by its transfer engine, whose `init_info` and `update_info` the caller knows."""

    operations = frozenset(
        {
            "pause_generation",
            "resume_generation",
            "sleep",
            "wake_up",
            "reset_prefix_cache",
            "init_weight_update_communicator",
            "update_named_weights",
            "weight_version",
            "teardown",
        }
    )

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        """The prefix cache stays: `reset_prefix_cache` is a call of its own."""
        await self._post("pause_generation", "/pause", mode=mode, clear_cache="false")

    async def resume_generation(self) -> None:
        """Goes on."""
        await self._post("resume_generation", "/resume")

    async def sleep(self, level: int = 1) -> None:
        """Running answers are aborted."""
        await self._post("sleep", "/sleep", level=level)

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        """All of it, or what the tags name."""
        await self._post("wake_up", "/wake_up", tags=tags or None)

    async def reset_prefix_cache(self) -> None:
        """Of answers that run, it keeps what they hold."""
        await self._post("reset_prefix_cache", "/reset_prefix_cache")

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        """`info` is the transfer engine's `init_info`."""
        operation: Operation = "init_weight_update_communicator"
        await self._post(operation, "/init_weight_transfer_engine", {"init_info": info})

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        """`update` is the engine's `update_info`; alone, `weight_version` only names what is there."""
        version = update.get("weight_version")
        info = {name: value for name, value in update.items() if name != "weight_version"}
        if info:
            await self._post("update_named_weights", "/start_weight_update")
            try:
                await self._post("update_named_weights", "/update_weights", {"update_info": info})
            finally:
                # half an update leaves the engine waiting for its end
                await self._post("update_named_weights", "/finish_weight_update")
        if version is not None:
            body = {"new_version": str(version)}
            await self._post("update_named_weights", "/update_weight_version", body)

    async def weight_version(self) -> str:
        """As the last update named it."""
        return _version(self._done("weight_version", await self._ask("/weight_info", None)))

    async def teardown(self) -> None:
        """Leaves the trainer's group."""
        await self._post("teardown", "/shutdown_weight_transfer_engine")


_SGLANG_MODES = {"keep": "in_place", "abort": "abort"}


class SGLangControl(RemoteControl):
    """SGLang: weights from a folder (`model_path`) or over a group (`names` and more)."""

    operations = frozenset(
        {
            "pause_generation",
            "resume_generation",
            "sleep",
            "wake_up",
            "reset_prefix_cache",
            "init_weight_update_communicator",
            "update_named_weights",
            "weight_version",
            "teardown",
        }
    )

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        """It cannot wait for answers to end: `NotSupportedError`."""
        if mode not in _SGLANG_MODES:
            raise NotSupportedError(f"pause_generation: the engine {self.engine} cannot pause by {mode!r}")
        await self._post("pause_generation", "/pause_generation", {"mode": _SGLANG_MODES[mode]})

    async def resume_generation(self) -> None:
        """Goes on."""
        await self._post("resume_generation", "/continue_generation")

    async def sleep(self, level: int = 1) -> None:
        """Level 1 frees the cache of keys and values, level 2 the weights, too."""
        tags = ["kv_cache"] if level == 1 else ["kv_cache", "weights"]
        await self._post("sleep", "/release_memory_occupation", {"tags": tags})

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        """All of it, or what the tags name."""
        await self._post("wake_up", "/resume_memory_occupation", {"tags": list(tags)} if tags else {})

    async def reset_prefix_cache(self) -> None:
        """Only while nothing runs."""
        await self._post("reset_prefix_cache", "/flush_cache")

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        """`info` is that of `/init_weights_update_group`."""
        await self._post("init_weight_update_communicator", "/init_weights_update_group", info)

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        """From a folder where `model_path` is given, over the group where `names` are; else the version."""
        if "model_path" in update:
            path = "/update_weights_from_disk"
        elif "names" in update:
            path = "/update_weights_from_distributed"
        else:
            path, update = "/update_weight_version", {"new_version": str(update.get("weight_version", ""))}
        await self._post("update_named_weights", path, update)

    async def weight_version(self) -> str:
        """As the last update named it."""
        return _version(self._done("weight_version", await self._ask("/model_info", None)))

    async def teardown(self) -> None:
        """Leaves the trainer's group."""
        await self._post("teardown", "/destroy_weights_update_group")


def _version(reply: Reply) -> str:
    said = reply.read(_Version)
    if said is None:
        raise EngineFaultError("weight_version: the engine does not tell it")
    return said.weight_version


class _Paused(msgspec.Struct):
    is_paused: bool


async def control_of(dialect: str, engine: str, ask: Ask) -> EngineControl:
    """The control plane of a server, found by asking: vLLM has it in development mode only."""
    if dialect == "sglang":
        return SGLangControl(engine, ask)
    if dialect == "vllm" and (await ask("/is_paused", None)).read(_Paused) is not None:
        return VLLMControl(engine, ask)
    return EngineControl(engine)
