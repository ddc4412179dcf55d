"""Free memory as the system and its control groups tell it, and the model that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.models import catalogue
from dragoman.models.memory import SPARE, available_memory, recommended

GB = 10**9


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8,000,000 kB of free memory, where this process is in the control group /pod/box."""
    write(tmp_path / "proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
    write(tmp_path / "proc/self/cgroup", "9:cpu,cpuacct:/other\n0::/pod/box\n")
    return tmp_path


def write(file: Path, text: str) -> None:
    """One of the system's files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def limit(folder: Path, most: str, used: int, inactive: int = 0) -> None:
    """The limit of a control group of version 2."""
    write(folder / "memory.max", f"{most}\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 5\nactive_file 7\ninactive_file {inactive}\n")


def asked(machine: Path) -> int | None:
    """What is available there."""
    return available_memory(machine / "proc", machine / "cgroup")


def test_a_system_that_does_not_say_is_not_guessed(tmp_path: Path) -> None:
    assert asked(tmp_path) is None


def test_without_a_limit_it_is_what_the_system_has(machine: Path) -> None:
    limit(machine / "cgroup/pod/box", "max", 3 * GB)
    assert asked(machine) == 8_000_000 * 1024


def test_a_limit_leaves_what_is_not_used_of_it_and_caches_count_as_free(machine: Path) -> None:
    limit(machine / "cgroup/pod/box", str(3 * GB), 2 * GB, inactive=GB // 2)
    assert asked(machine) == 3 * GB // 2


def test_the_limit_of_a_group_around_ours_counts(machine: Path) -> None:
    limit(machine / "cgroup/pod", str(2 * GB), GB)
    limit(machine / "cgroup/pod/box", "max", GB)
    assert asked(machine) == GB


def test_inside_a_container_the_root_holds_its_own_limit(machine: Path) -> None:
    limit(machine / "cgroup", str(GB), 2 * GB)
    assert asked(machine) == 0


def test_limits_of_version_1_count(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "5:memory:/docker/box\n")
    write(machine / "cgroup/memory/memory.limit_in_bytes", f"{2 * GB}\n")
    write(machine / "cgroup/memory/memory.usage_in_bytes", f"{GB}\n")
    assert asked(machine) == GB


def test_the_largest_model_that_fits_is_recommended() -> None:
    large = max(catalogue(), key=lambda model: model.size)
    assert recommended(large.memory + SPARE) is large
    assert recommended(large.memory + SPARE - 1) is None


@pytest.mark.parametrize("available", [None, 0])
def test_where_nothing_is_known_or_fits_nothing_is_recommended(available: int | None) -> None:
    assert recommended(available) is None


def test_every_model_takes_more_memory_than_its_file_has_bytes() -> None:
    assert [model.name for model in catalogue() if model.memory <= model.size] == []
