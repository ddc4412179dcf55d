"""The parrot's built files belong to its script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.models.parrot.script import Case, grid
from tests.models.parrot.surroundings import beyond

FOLDER = Path(__file__).parents[2] / "models" / "parrot"


def read(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return msgspec.json.decode((FOLDER / name).read_bytes(), type=list[dict[str, Any]])


@pytest.mark.parametrize(("name", "cases"), [("dialogues.json", list(grid())), ("beyond.json", beyond())])
def test_the_cases_are_those_of_the_script(name: str, cases: list[Case]) -> None:
    told = [(row["name"], row["messages"], row["tools"], row["raw"], row["prefill"]) for row in read(name)]
    assert told == [(case.name, case.messages, case.tools, case.reply, case.prefill) for case in cases]


def test_names_are_unique() -> None:
    names = [row["name"] for file in ("dialogues.json", "beyond.json") for row in read(file)]
    assert len(set(names)) == len(names)


def test_the_template_is_the_one_that_was_built_in() -> None:
    template = (FOLDER / "template.jinja").read_bytes()
    assert (FOLDER / "hf" / "chat_template.jinja").read_bytes() == template
    assert template in (FOLDER / "parrot.gguf").read_bytes()
