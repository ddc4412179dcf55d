"""Where a command's settings come from."""

from __future__ import annotations

import sys
from pathlib import Path

_FOUND = Path("dragoman.toml")


def settings_file(named: Path | None) -> Path | None:
    """The file with settings: the one that is named, else one in this folder, which is said."""
    if named is not None or not _FOUND.is_file():
        return named
    print(f"dragoman: settings from ./{_FOUND}", file=sys.stderr)
    return _FOUND
