"""Every kind of engine, and how the settings ask for it: one line each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from dragoman.engines.base import InferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import EngineEntry, Settings

if TYPE_CHECKING:
    from dragoman.models.progress import Report

Builder = Callable[[Settings, "Report | None"], list[InferenceEngine]]


def _remote(settings: Settings, _report: Report | None) -> list[InferenceEngine]:
    return [build_engine(entry, settings) for entry in settings.engines]


def build_engine(entry: EngineEntry, settings: Settings) -> InferenceEngine:
    """The engine of one entry; `SettingsError` for what cannot be used."""
    if entry.ray is not None:
        # imported late, as below
        wrapped: InferenceEngine = importlib.import_module("dragoman.engines.ray").RayInferenceEngine(
            entry, settings
        )
        return wrapped
    if entry.kind == "vllm":
        # imported late, as below; what it needs of vLLM it imports when it starts
        vllm = importlib.import_module("dragoman.engines.vllm")
        in_process: InferenceEngine = vllm.VLLMInferenceEngine(
            entry.model, entry.arguments, entry=entry, timeouts=settings.timeouts, limits=settings.limits
        )
        return in_process
    if not entry.aids:
        return RemoteInferenceEngine(entry, settings.timeouts, settings.limits)
    # imported late, as below
    aided = importlib.import_module("dragoman.engines.llamacpp.aided")
    engine: InferenceEngine = aided.AidedInferenceEngine(entry, settings.timeouts, settings.limits)
    return engine


def _embedded(settings: Settings, report: Report | None) -> list[InferenceEngine]:
    # imported late: who has engines elsewhere needs nothing of it
    module = importlib.import_module("dragoman.engines.llamacpp")
    engine: InferenceEngine = module.LlamaCppInferenceEngine(
        settings.model,
        local=settings.local,
        timeouts=settings.timeouts,
        limits=settings.limits,
        report=report,
    )
    return [engine]


KINDS: dict[str, Builder] = {
    "remote": _remote,
    "embedded": _embedded,
}


def build_engines(settings: Settings, report: Report | None = None) -> list[InferenceEngine]:
    """The engines that the settings name; without any, the embedded one, which tells `report` of loading."""
    return KINDS["remote" if settings.engines else "embedded"](settings, report)
