"""Writes what the docs say about the code from the code itself, between markers in the pages.

A page holds `<!-- generated: NAME -->` and `<!-- end generated: NAME -->`; the lines between are made by the
function that `PARTS` has under NAME. `--check` writes nothing and fails when a page is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.page import PARTS as BENCHMARK
from dragoman.settings import ENV_PREFIX, Settings
from dragoman.translate.grammar import states_mermaid
from tests.oracle.page import PARTS as COMPATIBILITY
from tests.prefix.page import PARTS as PREFIX

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "ARCHITECTURE.md", "docs")
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end generated: \2 -->)", re.DOTALL)


def state_diagram() -> str:
    """The legal orders of stream events as a diagram."""
    return f"```mermaid\n{states_mermaid().strip()}\n```\n"


def settings_table() -> str:
    """Every setting with its environment variable, type and default."""
    rows = [
        f"| `{name}` | `{variable}` | {kind} | {default} |"
        for name, variable, kind, default in settings_of(Settings)
    ]
    return "\n".join(["| setting | environment | type | default |", "|---|---|---|---|", *rows]) + "\n"


def settings_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, environment variable, type and default of each setting, those of nested tables included."""
    for field in msgspec.structs.fields(struct):
        name = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings_of(field.type, f"{name}.")
        else:
            variable = ENV_PREFIX + name.replace(".", "__").upper()
            yield name, variable, _type_words(field.type), _default_words(field)


def _type_words(kind: Any) -> str:
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType() as number:
            return "".join([type(number).__name__.removesuffix("Type").lower(), *_bounds(number)])
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case msgspec.inspect.DictType():
            return "table of strings"
        case msgspec.inspect.VarTupleType(item_type=item):
            return "list of strings" if isinstance(item, msgspec.inspect.StrType) else "list of tables"
        case other:
            return type(other).__name__.removesuffix("Type").lower().replace("str", "string")


def _bounds(number: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> Iterator[str]:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    given = {word: getattr(number, name) for name, word in words.items()}
    yield from (f", {word} {value}" for word, value in given.items() if value is not None)


def _default_words(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`" if value not in ("", (), {}) else ""


PARTS: dict[str, Callable[[], str]] = {
    "state-diagram": state_diagram,
    "settings": settings_table,
    **COMPATIBILITY,
    **BENCHMARK,
    **PREFIX,
}


def pages() -> Iterator[Path]:
    """All Markdown pages that may hold generated parts."""
    for name in PAGES:
        path = ROOT / name
        yield from sorted(path.rglob("*.md")) if path.is_dir() else [path]


def renewed(text: str) -> str:
    """The page with every generated part made anew; raises `KeyError` for a part that nothing makes."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[4]}", text)


def main() -> int:
    """Write the pages, or with `--check` name those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is out of date")
    check = parser.parse_args().check
    stale = [
        page
        for page in pages()
        if renewed(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    for page in stale:
        print(f"{'out of date' if check else 'written'}: {page.relative_to(ROOT)}")
        if not check:
            page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
    if stale and check:
        print("run `make docs`")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
