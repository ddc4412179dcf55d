"""What the pages say about files, targets and options is there, and generated parts are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dragoman.ledger.export.trajectory import SCHEMA_VERSION, Span, Trajectory, Weights
from dragoman.settings import EngineEntry, RayActor, Settings
from scripts import generate_docs
from tests.docs.snippets import ROOT, all_snippets, pages

_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_ALL_PAGES = list(pages())


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", _ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    targets = [((page.parent / path).resolve() if path else page, anchor) for path, anchor in links]
    broken = [str(target) for target, _ in targets if not target.exists()]
    lost = [
        anchor for target, anchor in targets if anchor and target.is_file() and anchor not in anchors(target)
    ]
    assert broken == []
    assert lost == []


@pytest.mark.parametrize("page", _ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert generate_docs.renewed(text) == text


def test_the_state_diagram_is_generated() -> None:
    assert "<!-- generated: state-diagram -->" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert generate_docs.state_diagram().startswith("```mermaid\nstateDiagram")


def test_every_setting_is_explained() -> None:
    explained = (ROOT / "docs/settings.md").read_text(encoding="utf-8").partition("## What they do")[2]
    names = [name for name, *_ in generate_docs.settings_of(Settings)]
    names += [field.name for field in msgspec.structs.fields(EngineEntry)]
    names += [f"ray.{field.name}" for field in msgspec.structs.fields(RayActor)]
    assert [name for name in names if f"`{name}`" not in explained] == []


def test_every_field_of_a_row_is_explained() -> None:
    explained = (ROOT / "docs/export.md").read_text(encoding="utf-8").partition("## The schema")[2]
    fields = [field.name for kind in (Trajectory, Span, Weights) for field in msgspec.structs.fields(kind)]
    assert [name for name in fields if f"`{name}`" not in explained] == []
    assert f"Version {SCHEMA_VERSION}." in explained


def test_make_targets_that_the_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [page.read_text(encoding="utf-8") for page in _ALL_PAGES]
    named = {name for text in texts for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)}
    assert named
    assert named - targets == set()


def test_options_that_the_pages_name_exist() -> None:
    used = {
        (command, option)
        for snippet in all_snippets()
        for command, rest in re.findall(
            r"\bdragoman (serve|chat|models [a-z]+|translate|doctor)\b([^\n#|]*)", snippet.code
        )
        for option in re.findall(r"--[a-z-]+", rest)
    }
    helps = {command: help_of(command) for command, _ in used}
    assert used
    assert [f"{command} {option}" for command, option in sorted(used) if option not in helps[command]] == []


def help_of(command: str) -> str:
    """What `dragoman COMMAND --help` prints."""
    program = Path(sys.executable).with_name("dragoman")
    return subprocess.run(
        [program, *command.split(), "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
