"""How much memory is free here, a container's limit included, and the model that it has room for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dragoman.models.catalogue import CatalogueModel, catalogue

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
# Beside what a model takes at its start: prompts that llama.cpp keeps (1 GiB at most), and everything else.
SPARE = 1_500_000_000
# The files of a limit, of what is used of it, and the line of memory.stat that can be had back: of version 2
# of control groups, and of version 1.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes that this process could take before something has to go; None where the system does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(proc / "meminfo"), re.MULTILINE)
    if found is None:
        return None
    return min([int(found[1]) * 1024, *_left(proc, cgroup)])


def recommended(available: int | None) -> CatalogueModel | None:
    """The largest model for which that much is enough; None where none is larger than the default one."""
    models = catalogue()
    fitting = [model for model in models if available is not None and model.memory + SPARE <= available]
    best = max(fitting, key=lambda model: model.size, default=models[0])
    return best if best.size > models[0].size else None


def _left(proc: Path, cgroup: Path) -> Iterator[int]:
    """What each limit leaves of the groups that this process is in, and of those around them."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if not kinds:
            yield from _along(cgroup, path, 2)
        elif "memory" in kinds.split(","):
            yield from _along(cgroup / "memory", path, 1)


def _along(root: Path, path: str, version: int) -> Iterator[int]:
    limit, usage, reclaimable = _FILES[version]
    # inside a container the group's path may be that of the machine outside; the root is then its own
    inner = root / path.strip("/")
    for folder in (inner, *inner.parents):
        if root not in (folder, *folder.parents):
            return
        most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
        if most.isdigit() and used.isdigit():
            again = re.search(rf"^{reclaimable} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            yield max(int(most) - int(used) + (int(again[1]) if again else 0), 0)


def _text(file: Path) -> str:
    """What a file of the system says, nothing where there is none."""
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
