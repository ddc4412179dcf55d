"""Which file a model's name or path means."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from dragoman.errors import EngineUnavailableError
from dragoman.models.aids import PromptAids
from dragoman.models.catalogue import find
from dragoman.models.fetching import fetch
from dragoman.models.progress import Report


class LocalModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model file on this machine, the name that it is served under, and the aids of its catalogue entry."""

    name: str
    path: Path
    aids: PromptAids | None = None


def cache_folder(cache_dir: str = "") -> Path:
    """Where models are kept: the given folder, else the user's cache."""
    if cache_dir:
        return _expanded(cache_dir)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(base) / "dragoman" / "models"


def _expanded(text: str) -> Path:
    """The path with its home folder; `EngineUnavailableError` where nobody has that one."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise EngineUnavailableError(f"{text} is no path on this machine: {error}") from error


def is_path(model: str) -> bool:
    """Whether `model` names a file and not an entry of the catalogue."""
    return model.endswith(".gguf") or os.sep in model


async def locate(model: str, cache_dir: str = "", report: Report | None = None) -> LocalModel:
    """The file that `model` means: a path, a name of the catalogue (fetched if need be), or the default."""
    if is_path(model):
        return _from_path(model)
    entry = find(model)
    path = await fetch(entry, cache_folder(cache_dir), report)
    return LocalModel(name=entry.name, path=path, aids=entry.aids)


def _from_path(text: str) -> LocalModel:
    path = model_file(text)
    return LocalModel(name=path.stem, path=path)


def model_file(text: str) -> Path:
    """The file at a path; `EngineUnavailableError` where there is none."""
    path = _expanded(text)
    try:
        is_there = path.is_file()
    except OSError as error:
        raise EngineUnavailableError(f"cannot read {path}: {error.strerror}") from error
    if not is_there:
        raise EngineUnavailableError(f"no model file at {path}")
    return path
