"""The house rules, executed over the files that git tracks; the checkers are tested on samples first."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dragoman
from tests.support import house_rules

ROOT = Path(__file__).resolve().parent.parent
BINARY = {".gguf", ".safetensors", ".png", ".pdf", ".jpg", ".gif", ".webp"}
# The upstream licence text and generated locks are not ours to word.
NOT_OUR_WORDS = {"LICENSE", "package-lock.json"}

TASKS = frozenset({"asyncio", "concurrent", "multiprocessing", "subprocess", "threading"})
NETWORK = frozenset(
    {"aiohttp", "http", "select", "socket", "ssl", "starlette", "urllib", "urllib3", "uvicorn"}
)
CLOCK_AND_CHANCE = frozenset({"datetime", "logging", "os", "random", "secrets", "time", "uuid"})
IMPURE = TASKS | NETWORK | CLOCK_AND_CHANCE
# Where a package may not reach, with the modules it may not import.
FORBIDDEN_IMPORTS = {
    "src/dragoman/": frozenset(["pydantic", "json", "fastapi", "httpx", "requests"]),
    "src/dragoman/wire/": IMPURE,
    "src/dragoman/translate/": IMPURE | {"dragoman.engines"},
    "src/dragoman/engines/": frozenset(["dragoman.wire.anthropic", "dragoman.translate"]),
    "src/dragoman/routing/policy.py": IMPURE,
    # Its files need a name of their own beside their place, and no clock.
    "src/dragoman/ledger/export/": (IMPURE - {"os", "secrets"}) | {"numpy", "torch"},
}
SERVER_ONLY = frozenset(["starlette"])


@cache
def tracked() -> tuple[str, ...]:
    """The paths of all tracked files, those just deleted left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return tuple(path for path in listed.split("\0") if path and (ROOT / path).is_file())


@cache
def text_of(path: str) -> str:
    """The text of one tracked file."""
    return (ROOT / path).read_text(encoding="utf-8")


def python_files(under: str = "") -> Iterator[str]:
    """The tracked Python files, of one folder or of all."""
    return (path for path in tracked() if path.endswith(".py") and path.startswith(under))


def violations(check: Callable[[str], list[str]], paths: Iterator[str]) -> str:
    """What a checker finds in the files, a line each, as `path:line: words`."""
    return "\n".join(f"{path}:{found}" for path in paths for found in check(text_of(path)))


@pytest.mark.parametrize(
    "check",
    [
        house_rules.long_module,
        house_rules.long_functions,
        house_rules.missing_docstring,
        house_rules.silent_directives,
        house_rules.broad_excepts,
        house_rules.skips_without_reason,
    ],
)
def test_every_python_file_keeps_the_rule(check: Callable[[str], list[str]]) -> None:
    assert violations(check, python_files()) == ""


def test_no_test_checks_only_sometimes() -> None:
    assert violations(house_rules.conditional_assertions, python_files("tests/")) == ""


def test_the_source_holds_no_unfinished_marks() -> None:
    sources = (path for path in tracked() if path.startswith("src/"))
    assert violations(house_rules.unfinished_marks, sources) == ""


def test_no_file_names_a_machine_or_a_registry() -> None:
    paths = (
        path
        for path in tracked()
        if PurePosixPath(path).suffix not in BINARY and PurePosixPath(path).name not in NOT_OUR_WORDS
    )
    assert violations(house_rules.private_places, paths) == ""


@pytest.mark.parametrize("under", FORBIDDEN_IMPORTS)
def test_packages_import_only_what_suits_them(under: str) -> None:
    forbidden = FORBIDDEN_IMPORTS[under]
    assert (
        violations(lambda source: house_rules.forbidden_imports(source, forbidden), python_files(under)) == ""
    )


def test_only_the_server_knows_starlette() -> None:
    others = (path for path in python_files("src/") if not path.startswith("src/dragoman/server/"))
    assert violations(lambda source: house_rules.forbidden_imports(source, SERVER_ONLY), others) == ""


LOCKS = [path for path in tracked() if re.fullmatch(r"(bench/)?requirements/\w+\.txt", path)]


def test_every_environment_has_its_lock() -> None:
    names = ["uv", "base", "local", "dev", "clients", "templates", "trainers"]
    peers = ["smg", "litellm"]
    expected = [f"requirements/{name}.txt" for name in names]
    assert sorted(LOCKS) == sorted([*expected, *(f"bench/requirements/{name}.txt" for name in peers)])


@pytest.mark.parametrize("path", LOCKS)
def test_locks_are_hashed_and_name_no_place(path: str) -> None:
    assert house_rules.unlocked_requirements(text_of(path)) == []


def test_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    extras = project["project"]["optional-dependencies"]
    groups = {
        "base": project["project"]["dependencies"],
        "local": [*extras["local"], *extras["documents"]],
        "dev": [*project["dependency-groups"]["dev"], *extras["ray"], *extras["parquet"]],
        "clients": project["dependency-groups"]["clients"],
    }
    missing = [
        f"{name}: {wanted}"
        for name, requirements in groups.items()
        for wanted in map(Requirement, requirements)
        if not wanted.specifier.contains(locked_versions(name).get(canonicalize_name(wanted.name), "0"))
    ]
    assert missing == []


def locked_versions(name: str) -> dict[str, str]:
    """The pins of one lock."""
    pins = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;]+)", text_of(f"requirements/{name}.txt"), re.MULTILINE
    )
    return {canonicalize_name(package): version for package, version in pins}


def test_npm_locks_name_no_place() -> None:
    locks = [path for path in tracked() if path.endswith("package-lock.json")]
    named = [path for path in locks if '"resolved"' in text_of(path)]
    settings = [str(PurePosixPath(path).with_name(".npmrc")) for path in locks]
    assert named == []
    assert [path for path in settings if "omit-lockfile-registry-resolved=true" not in text_of(path)] == []


def test_npm_locks_are_hashed() -> None:
    locks = [msgspec.json.decode(text_of(path)) for path in tracked() if path.endswith("package-lock.json")]
    entries = [(name, entry) for lock in locks for name, entry in lock["packages"].items() if name]
    assert [name for name, entry in entries if "integrity" not in entry and not entry.get("inBundle")] == []


def test_the_makefile_has_the_promised_targets() -> None:
    wanted = "install serve test check format lint types imports cov docs golden bench eval-tools wheel lock"
    described = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    assert {*wanted.split(), "parrot"} <= described


def test_the_version_is_said_once_the_same() -> None:
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["version"] == dragoman.__version__


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    assert "\n## Unreleased\n" in text_of("CHANGELOG.md")


def lines(count: int, text: str = "    x = 1\n") -> str:
    """A number of equal lines."""
    return text * count


# One sample that breaks each rule and one that keeps it.
SAMPLES: list[tuple[Callable[[str], list[str]], str, str]] = [
    (house_rules.long_module, lines(401, "\n"), lines(400, "\n")),
    (house_rules.long_functions, "def f():\n" + lines(40), "def f():\n" + lines(39)),
    (
        house_rules.long_functions,
        "async def f():\n" + lines(41),
        'def f():\n    """A.\n\n    B."""\n' + lines(39),
    ),
    (house_rules.missing_docstring, "x = 1\n", '"""A."""\n'),
    (
        house_rules.silent_directives,
        "x = 1  # no" + "qa: E501\n",
        "x = 1  # no" + "qa: E501 - a long address\n",
    ),
    (
        house_rules.silent_directives,
        "x = 1  # type: " + "ignore[a-b]\n",
        "x = 1  # type: " + "ignore[a-b]  # no stubs\n",
    ),
    (
        house_rules.silent_directives,
        "x = 1  # pragma: " + "no cover\n",
        "x = 1  # pragma: " + "no cover - run in a child\n",
    ),
    (
        house_rules.broad_excepts,
        "try:\n    f()\nexcept:\n    g()\n",
        "try:\n    f()\nexcept OSError:\n    g()\n",
    ),
    (
        house_rules.broad_excepts,
        "try:\n    f()\nexcept (OSError, Exception):\n    g()\n",
        "try:\n    f()\nexcept Exception:  # the last line of defence\n    g()\n",
    ),
    (
        house_rules.broad_excepts,
        "try:\n    f()\nexcept BaseException:\n    raise Other from None\n",
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
    ),
    (house_rules.broad_excepts, "with suppress(Exception):\n    f()\n", "with suppress(OSError):\n    f()\n"),
    (house_rules.skips_without_reason, "pytest.skip()\n", "pytest.skip('no llama.cpp here')\n"),
    (
        house_rules.skips_without_reason,
        "@pytest.mark.skip\ndef f(): ...\n",
        "@pytest.mark.xfail(reason='a bug')\ndef f(): ...\n",
    ),
    (
        house_rules.skips_without_reason,
        "pytest.importorskip('a')\n",
        "pytest.importorskip('a', reason='an extra')\n",
    ),
    (
        house_rules.conditional_assertions,
        "def test_a():\n    if b:\n        assert c\n",
        "def test_a():\n    assert c\n",
    ),
    (house_rules.unfinished_marks, "# TO" + "DO: later\n", "# To do this, call f.\n"),
    (house_rules.private_places, "open('/ro" + "ot/a')\n", "open('/usr/share/a')\n"),
    (house_rules.private_places, "https://py" + "pi.org/simple\n", "https://example.org/simple\n"),
    (house_rules.unlocked_requirements, "a==1.0\n", "a==1.0 \\\n    --hash=sha256:00\n"),
    (house_rules.unlocked_requirements, "--index-url x\n", "# a comment\n"),
    (house_rules.unlocked_requirements, "a @ https://example.org/a.whl --hash=sha256:00\n", ""),
]


@pytest.mark.parametrize(("check", "bad", "good"), SAMPLES)
def test_the_checker_tells_bad_from_good(check: Callable[[str], list[str]], bad: str, good: str) -> None:
    assert check(bad) != []
    assert check(good) == []


def test_forbidden_imports_are_found_in_every_spelling() -> None:
    forbidden = frozenset(["a.b", "time"])
    bad = "import a.b\nfrom a import b\nfrom a.b import c\nimport time as t\nfrom time import sleep\n"
    assert len(house_rules.forbidden_imports(bad, forbidden)) == 5
    assert house_rules.forbidden_imports("import timeit\nfrom a import bc\nimport ab\n", forbidden) == []
