"""Installs the built wheel into a fresh environment and uses it as somebody who has nothing else would."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "dragoman",
    "dragoman.settings",
    "dragoman.errors",
    "dragoman.engines.base",
    "dragoman.wire.openai",
)
WANTED = ("dragoman/py.typed", "dragoman/models/models.toml", "dragoman/cli/main.py")
UNWANTED = ("tests/", "bench/", "scripts/")


def check_contents(dist: Path) -> Path:
    """The wheel, after a look at what it and the source archive hold."""
    (wheel,) = dist.glob("*.whl")
    (archive,) = dist.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in WANTED if name not in names]
    stray = [name for name in names if name.startswith(UNWANTED)]
    licence = [name for name in names if name.endswith("licenses/LICENSE")]
    with tarfile.open(archive) as sources:
        in_archive = [name.partition("/")[2] for name in sources.getnames()]
    if missing or stray or not licence or "src/dragoman/py.typed" not in in_archive:
        raise SystemExit(f"the wheel is wrong: missing {missing}, stray {stray}, licence {licence}")
    return wheel


def run(*command: str | Path, at: Path) -> str:
    """The output of a command run in `at`; ends the script when it fails."""
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def use_wheel(wheel: Path, home: Path) -> None:
    """Install the wheel on the locked base dependencies alone, import it, run its program."""
    uv = Path(sys.executable).with_name("uv")
    python = home / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "-p", sys.executable, home / "venv", at=home)
    install = (uv, "pip", "install", "--quiet", "-p", python)
    run(*install, "--require-hashes", "-r", ROOT / "requirements" / "base.txt", at=home)
    run(*install, "--no-deps", wheel, at=home)
    run(uv, "pip", "check", "-p", python, at=home)
    run(python, "-c", f"import {', '.join(MODULES)}", at=home)
    program = python.with_name("dragoman")
    if "serve" not in run(program, "--help", at=home):
        raise SystemExit("`dragoman --help` does not mention serve")
    request = home / "request.json"
    request.write_text(
        '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}', encoding="utf-8"
    )
    if "Hello" not in run(program, "translate", request, at=home):
        raise SystemExit("`dragoman translate` lost the text")

    check_missing_extra(program, home)


def check_missing_extra(program: Path, home: Path) -> None:
    """Without its extra the embedded engine must say what to install."""
    command: list[str | Path] = [program, "serve", "--port", "0"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0 or "dragoman[local]" not in done.stderr:
        raise SystemExit(f"without its extra `dragoman serve` says: {done.stdout}{done.stderr}")


def main() -> int:
    """Check the wheel in the folder that is named on the command line."""
    wheel = check_contents(Path(sys.argv[1]).resolve())
    # The project's own tree must not be importable by accident.
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as home:
        use_wheel(wheel, Path(home))
    print(f"{wheel.name}: installs, imports and runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
