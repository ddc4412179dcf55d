"""Processes of the benchmark: started, pinned, waited for, measured."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port on loopback that nobody holds."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cores() -> tuple[set[int], set[int]]:
    """The cores for the server under test, and those for the rest; the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return ({allowed[-1]}, set(allowed[:-1]) or {allowed[-1]})


def popen(
    command: Sequence[str], on: set[int], env: Mapping[str, str] | None = None, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """A process that runs on these cores only."""
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=stdout)
    os.sched_setaffinity(process.pid, on)
    return process


@contextmanager
def running(command: Sequence[str], on: set[int], env: Mapping[str, str], wait_for: str) -> Iterator[int]:
    """A server on these cores, answering at `wait_for`; gives its process id and ends it at the end."""
    # what a server greets with is not for this table; its errors are
    process = popen(command, on, env, stdout=subprocess.DEVNULL)
    try:
        wait_until_up(wait_for, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Waits for a good answer from `url`; raises when the process ends first or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - an address on loopback made here
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer in {seconds} s")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants so far."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    )
    own = (int(fields[11]) + int(fields[12])) / TICKS
    return own + sum(map(cpu_seconds, children(pid)))


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]


def resident_mb(pid: int) -> float:
    """Resident memory of the process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
