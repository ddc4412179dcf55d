"""A folder instead of the web."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dragoman.errors import SettingsError
from dragoman.server_tools import SearchScope, ServerToolError, folder
from dragoman.server_tools.folder import ADDRESS, FolderTools

SCOPE = SearchScope()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with some files, beside one that nobody may read."""
    root = tmp_path / "folder"
    (root / "deep er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (tmp_path / "secret.txt").write_text("the tower's secret")
    (root / "tower.md").write_text("# The tower\n\nIt is 77 m high.\n")
    (root / "deep er" / "page.html").write_text("<title>Bridges</title><p>A bridge by a tower")
    (root / "tea.txt").write_text("Tea is made of leaves.")
    (root / ".hidden" / "x.md").write_text("tower")
    (root / ".dot.md").write_text("tower")
    (root / "data.bin").write_bytes(b"tower")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    return root


async def test_files_are_found_by_their_words(root: Path) -> None:
    hits = await FolderTools(root).search("high tower", SCOPE)
    assert [(hit.title, hit.url) for hit in hits] == [
        ("The tower", ADDRESS + "tower.md"),
        ("Bridges", ADDRESS + "deep%20er/page.html"),
    ]
    assert "77 m" in hits[0].text


async def test_a_file_that_cannot_be_read_is_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refusing(file: Path, **more: str) -> str:
        if file.name == "tower.md":
            raise PermissionError(file)
        return read(file, **more)

    monkeypatch.setattr(Path, "read_text", refusing)
    assert [hit.title for hit in await FolderTools(root).search("tower", SCOPE)] == ["Bridges"]


async def test_some_thousand_files_are_enough(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_FILES", 2)
    (root / "empty.txt").write_text(" \n")
    assert [hit.title for hit in await FolderTools(root).search("leaves tower", SCOPE)] == ["tea.txt"]


async def test_some_mebibytes_are_enough(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_BYTES", len((root / "tea.txt").read_bytes()))
    assert [hit.title for hit in await FolderTools(root).search("leaves tower", SCOPE)] == ["tea.txt"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
async def test_a_name_that_is_no_text_is_an_address_too(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.md")).write_text("Coffee is drunk here.")
    tools = FolderTools(root)
    (hit,) = await tools.search("coffee", SCOPE)
    assert hit.url == ADDRESS + "caf%E9.md"
    assert (await tools.fetch(hit.url)).text == "Coffee is drunk here."


async def test_what_is_written_later_is_found(root: Path) -> None:
    tools = FolderTools(root)
    assert await tools.search("ziggurat", SCOPE) == []
    (root / "new.md").write_text("a ziggurat")
    assert [hit.title for hit in await tools.search("ziggurat", SCOPE)] == ["new.md"]


async def test_the_best_passage_of_a_long_file_is_given_and_hits_are_few(root: Path) -> None:
    (root / "long.txt").write_text("\n\n".join([*(["filler words " * 40] * 20), "the needle", "tail " * 900]))
    (hit,) = await FolderTools(root).search("needle", SCOPE)
    assert "the needle" in hit.text
    assert len(hit.text) < 3000
    for number in range(12):
        (root / f"many{number}.txt").write_text("haystack")
    assert len(await FolderTools(root).search("haystack", SCOPE)) == 8


async def test_pages_are_read_by_their_address(root: Path) -> None:
    tools = FolderTools(root)
    page = await tools.fetch(ADDRESS + "deep%20er/page.html")
    assert (page.title, page.text, page.url) == (
        "Bridges", "A bridge by a tower", ADDRESS + "deep%20er/page.html",
    )  # fmt: skip
    assert (await tools.fetch(ADDRESS + "tower.md#part")).text.startswith("# The tower")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (ADDRESS + "none.md", "url_not_accessible"),
        (ADDRESS + "../secret.txt", "url_not_accessible"),
        (ADDRESS + "%2e%2e/secret.txt", "url_not_accessible"),
        (ADDRESS + "deep%20er/../../secret.txt", "url_not_accessible"),
        (ADDRESS + "/etc/motd.txt", "url_not_accessible"),
        (ADDRESS + "out.txt", "url_not_accessible"),
        (ADDRESS + ".hidden/x.md", "url_not_accessible"),
        (ADDRESS + ".dot.md", "url_not_accessible"),
        (ADDRESS + "a%00.md", "url_not_accessible"),
        (ADDRESS + "n" * 400 + ".md", "url_not_accessible"),
        (ADDRESS + "loop.md", "url_not_accessible"),
        (ADDRESS + "data.bin", "unsupported_content_type"),
        (ADDRESS + "large.txt", "content_too_large"),
        ("https://a.example/tower.md", "url_not_accessible"),
    ],
)
async def test_nothing_else_is_read(root: Path, url: str, code: str) -> None:
    (root / "large.txt").write_bytes(b"a" * (2 * 1024 * 1024 + 1))
    (root / "loop.md").symlink_to("loop.md")
    with pytest.raises(ServerToolError) as refused:
        await FolderTools(root).fetch(url)
    assert refused.value.code == code


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"server_tools\.folder"):
        FolderTools(tmp_path / "none")
