"""What of the catalogue is on this machine: looked up, checked, and taken away."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec

from dragoman.errors import EngineUnavailableError
from dragoman.models.catalogue import CatalogueModel
from dragoman.models.fetching import fetch
from dragoman.models.progress import Report
from dragoman.models.workplace import Workplace, bytes_in, locked_now, make_folder, readable, sha256_of


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is here of a model: its file, if it is whole, and the bytes of a fetch that was cut."""

    path: Path | None
    partial: int = 0


def kept(model: CatalogueModel, folder: Path) -> Kept:
    """What is in `folder` of a model."""
    place = Workplace(folder, model)
    is_whole = place.is_whole()
    with readable(folder):
        return Kept(path=place.target if is_whole else None, partial=bytes_in(place.work))


async def pull(model: CatalogueModel, folder: Path, report: Report) -> Path:
    """The model's file: fetched, or checked where it is here already; a damaged one is fetched anew."""
    place = Workplace(folder, model)
    if place.is_whole():
        report.wait(f"checking {model.name}")
        try:
            digest = await asyncio.to_thread(sha256_of, place.target)
        finally:
            report.end()
        if digest != model.sha256:
            report.note(f"{place.target} is damaged (its sha256 is {digest}) and is fetched again")
            remove(model, folder)
    return await fetch(model, folder, report)


def remove(model: CatalogueModel, folder: Path) -> int:
    """Removes the model's file and what a cut fetch left; the bytes that are free again.

    Raises `EngineUnavailableError` where nothing is here, or where another process fetches it.
    """
    place = Workplace(folder, model)
    with readable(folder):
        is_here = place.target.exists() or place.work.exists()
    if not is_here:
        raise EngineUnavailableError(f"the model {model.name} is not here: nothing of it is in {folder}")
    make_folder(folder)
    # the file of the lock stays: whoever waits for it must not wait for one that is gone
    with locked_now(folder / f"{model.file}.lock") as held:
        if not held:
            raise EngineUnavailableError(f"another process fetches {model.name} now; nothing was removed")
        try:
            size = bytes_in(place.work) + (place.target.stat().st_size if place.target.exists() else 0)
            place.target.unlink(missing_ok=True)
            if place.work.exists():
                shutil.rmtree(place.work)
        except OSError as error:
            raise EngineUnavailableError(f"cannot remove {error.filename}: {error.strerror}") from error
    return size
