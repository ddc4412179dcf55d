"""The environments of the servers under test: one each, from a hashed lock, made anew when it changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.processes import ROOT, BenchError, last_words

VENVS = ROOT / "build" / "bench-venvs"
UV = str(Path(sys.executable).with_name("uv"))
STAMP = ".bench-lock"
LOCKS = {
    "dragoman": ROOT / "requirements" / "base.txt",
    "smg": ROOT / "bench" / "requirements" / "smg.txt",
    "litellm": ROOT / "bench" / "requirements" / "litellm.txt",
}
INSTALL_SECONDS = 900


class Installed(msgspec.Struct, frozen=True):
    """An environment: where its programs are, its size, and how many packages it holds."""

    programs: Path
    mb: float
    packages: int
    version: str


def make(name: str, venvs: Path = VENVS) -> Installed:
    """The environment of one server, made where it is missing or its lock has changed."""
    place, lock = venvs / name, LOCKS[name]
    stamp, wanted = place / STAMP, hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text("ascii") != wanted:
        shutil.rmtree(place, ignore_errors=True)
        uv("venv", "--quiet", "--python", sys.executable, str(place))
        install(place, "--require-hashes", "-r", str(lock))
        stamp.write_text(wanted, "ascii")
    if name == "dragoman":
        # what is measured is the code as it is now, installed as users install it
        install(place, "--no-deps", "--reinstall", str(ROOT))
    return inspect(place, name)


def install(place: Path, *what: str) -> None:
    """Installs into an environment, compiled, so that the first start is not slower than the others."""
    uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(place / "bin" / "python"), *what)


def uv(*arguments: str) -> None:
    """Runs uv; raises with its last words when it fails."""
    try:
        done = subprocess.run(
            [UV, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"not installed within {INSTALL_SECONDS} s") from error
    if done.returncode:
        raise BenchError(f"not installed: {last_words(done.stderr)}")


def inspect(place: Path, name: str) -> Installed:
    """The size and the contents of an environment."""
    files = (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    infos = list(place.glob("lib/python*/site-packages/*.dist-info"))
    versions = [info.name.removesuffix(".dist-info").partition("-") for info in infos]
    return Installed(
        programs=place / "bin",
        mb=sum(path.stat().st_size for path in files) / 1e6,
        packages=len(infos),
        version=next((version for package, _, version in versions if package == name), ""),
    )
