"""The numbers that the embedded llama.cpp is started with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dragoman.engines.llamacpp import params
from dragoman.engines.llamacpp.params import choose_context, choose_threads, server_params, usable_cores
from dragoman.errors import EngineUnavailableError, SettingsError
from dragoman.models.gguf import ModelHead
from dragoman.settings import LocalEngine


def head(context: int | None) -> ModelHead:
    """A model's head with that context."""
    return ModelHead(architecture="qwen3", context_length=context, has_chat_template=True)


@pytest.mark.parametrize(
    ("asked", "own", "chosen"),
    [(0, 8192, 8192), (0, 262144, 32768), (0, None, 4096), (2048, 8192, 2048), (65536, 262144, 65536)],
)
def test_the_context_is_as_asked_or_the_models_own(asked: int, own: int | None, chosen: int) -> None:
    assert choose_context(asked, head(own)) == chosen


def test_a_context_beyond_the_models_own_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"local\.context: 9000 tokens are more than the 8192"):
        choose_context(9000, head(8192))


@pytest.mark.parametrize(
    ("asked", "cores", "load", "chosen"),
    [
        (3, 1.0, 9.0, 3),
        (0, 1.0, 0.0, 1),
        (0, 2.0, 0.0, 1),
        (0, 8.0, 1.0, 4),
        (0, 8.0, 5.0, 1),
        (0, 3.5, 0.0, 1),
    ],
)
def test_few_or_busy_cores_get_one_thread(asked: int, cores: float, load: float, chosen: int) -> None:
    assert choose_threads(asked, cores, load) == chosen


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("150000 100000", 1.5),
        ("max 100000", 64.0),
        ("nonsense", 64.0),
        (None, 64.0),
        ("9900000 100000", 64.0),
    ],
)
def test_a_containers_quota_counts(
    quota: str | None, cores: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(params, "CPU_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert usable_cores() == cores


def test_without_affinity_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "CPU_QUOTA", tmp_path / "absent")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize(("gpu", "batch"), [(False, 32), (True, 512)])
def test_the_context_is_shared_by_the_slots(gpu: bool, batch: int) -> None:
    local = LocalEngine(context=1024, parallel=3, threads=2)
    made = server_params(Path("a.gguf"), "a", head(8192), "key", local, gpu=gpu)
    assert (made.context, made.shared_context, made.threads, made.batch) == (1024, 3072, 2, batch)


def test_an_image_fits_in_one_step(tmp_path: Path) -> None:
    file = tmp_path / "eye.gguf"
    file.touch()
    local = LocalEngine(mmproj=str(file))
    made = server_params(Path("a.gguf"), "a", head(8192), "key", local, gpu=False)
    assert (made.mmproj, made.batch) == (file, 512)


def test_a_missing_eye_is_named() -> None:
    with pytest.raises(EngineUnavailableError, match=r"no model file at /nowhere/eye\.gguf"):
        server_params(Path("a.gguf"), "a", head(1), "key", LocalEngine(mmproj="/nowhere/eye.gguf"), gpu=False)


def test_no_slot_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"local\.parallel: 0 is not 1 or more"):
        server_params(Path("a.gguf"), "a", head(8192), "key", LocalEngine(parallel=0), gpu=False)
