"""The checks of trainers themselves, read out of their sources: to import a trainer whole takes PyTorch."""

from __future__ import annotations
import __future__

import ast
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

# `make install` puts them there.
_PLACE = Path(sys.prefix) / "trainers"


def lifted(path: str, names: Iterable[str], **surroundings: Any) -> dict[str, Any]:
    """Functions and classes of one module, run with nothing around them but what is given."""
    file = _PLACE / path
    wanted = set(names)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    body = [node for node in tree.body if getattr(node, "name", "") in wanted]
    assert {getattr(node, "name", "") for node in body} == wanted
    tree.body = body
    flags = 0 if "BaseModel" in surroundings else __future__.annotations.compiler_flag
    found: dict[str, Any] = {"__name__": "lifted", **surroundings}
    exec(compile(tree, str(file), "exec", flags, dont_inherit=True), found)  # noqa: S102 - pinned by its hash
    return {name: found[name] for name in wanted}


def tinker_types() -> tuple[Any, Any, Any]:
    """Tinker's `Datum`, `ModelInput` and `TensorData`, without its client and what that imports."""
    packages = ["tinker", "tinker.types", "tinker.types._pydantic_types"]
    stand_ins = {name: ModuleType(name) for name in packages}
    for name, module in stand_ins.items():
        module.__path__ = [str(_PLACE.joinpath(*name.split(".")))]
    with mock.patch.dict(sys.modules, stand_ins):
        datum = importlib.import_module("tinker.types.datum")
    return datum.Datum, datum.ModelInput, datum.TensorData
