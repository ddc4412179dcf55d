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

from dragoman.settings import ENV_PREFIX, Settings
from dragoman.translate.grammar import states_mermaid

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
        for name, variable, kind, default in _settings(Settings, "")
    ]
    return "\n".join(["| setting | environment | type | default |", "|---|---|---|---|", *rows]) + "\n"


def _settings(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for field in msgspec.structs.fields(struct):
        name = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{name}.")
        else:
            variable = ENV_PREFIX + name.replace(".", "__").upper()
            yield name, variable, _type_words(field.type), _default_words(field)


def _type_words(kind: Any) -> str:
    words = (
        getattr(kind, "__name__", "")
        if isinstance(kind, type) and not hasattr(kind, "__args__")
        else str(kind)
    )
    words = re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", words)
    return re.sub(r"(?:typing|dragoman\.settings)\.", "", words).replace("'", "")


def _default_words(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`" if value not in ("", (), {}) else ""


PARTS: dict[str, Callable[[], str]] = {
    "state-diagram": state_diagram,
    "settings": settings_table,
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
