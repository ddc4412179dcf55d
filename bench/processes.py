"""Processes of the benchmark: started, pinned, waited for, measured."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.01
END_SECONDS = 10
LAST_WORDS = 300
NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BenchError(RuntimeError):
    """A server or a measurement that failed; the words say why."""


class Running(msgspec.Struct, frozen=True):
    """A started server: its process, and the seconds from its start until it was ready."""

    pid: int
    start_s: float


def free_port() -> int:
    """A port on loopback that nobody holds."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cores() -> tuple[set[int], set[int]]:
    """The cores for the server under test, and those for the rest; the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return ({allowed[-1]}, set(allowed[:-1]) or {allowed[-1]})


def allow_many_files() -> None:
    """Lets this process and what it starts hold as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def output_of(command: Sequence[str], on: set[int], timeout: float) -> bytes:
    """What a helper program prints, run on these cores only."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        os.sched_setaffinity(process.pid, on)
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{command[2]} did not end within {timeout:.0f} s") from error
        finally:
            process.kill()
    if process.returncode:
        raise BenchError(f"{command[2]} failed: {last_words(errors)}")
    return out


def last_words(output: bytes) -> str:
    """The end of what a program said, on one line."""
    return " ".join(output.decode(errors="replace").split())[-LAST_WORDS:]


@contextmanager
def running(
    command: Sequence[str], on: set[int], env: Mapping[str, str], wait_for: str, seconds: float = 60.0
) -> Iterator[Running]:
    """A server on these cores, answering at `wait_for`; it is ended at the end."""
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **NO_PROXY, **env}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            os.sched_setaffinity(process.pid, on)
            if not wait_until_up(wait_for, process, started + seconds):
                log.seek(0)
                raise BenchError(f"did not start: {last_words(log.read()) or 'it said nothing'}")
            yield Running(process.pid, time.monotonic() - started)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, gently first."""
    process.terminate()
    try:
        process.wait(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes], until: float) -> bool:
    """Waits for a good answer from `url`; false when the process ends first or the time is over."""
    while time.monotonic() < until and process.poll() is None:
        try:
            get(url, timeout=2)
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return True
    return False


def get(url: str, timeout: float) -> bytes:
    """What an address on loopback answers, whatever proxies the machine has set; raises `OSError`."""
    with _OPENER.open(url, timeout=timeout) as answer:
        return bytes(answer.read())


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants so far, to the nanosecond."""
    return _total(pid, lambda one: time.clock_gettime(cpu_clock(one)))


def cpu_clock(pid: int) -> int:
    """The number of the clock of a process's CPU time, as clock_getcpuclockid(3) makes it on Linux."""
    return (~pid << 3) | 2


def memory_mb(pid: int, field: str) -> float:
    """Memory of a process and its descendants in MB: `VmRSS` is resident now, `VmHWM` the most that was."""
    return _total(pid, lambda one: _status_kb(one, field)) * 1024 / 1e6


def _total(pid: int, figure: Callable[[int], float]) -> float:
    try:
        total = figure(pid)
        children = tree(pid)[1:]
    except OSError as error:
        raise BenchError("the process has ended") from error
    for child in children:
        # a child that has just ended is no more part of the server
        with contextlib.suppress(OSError):
            total += figure(child)
    return total


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        # a thread that has just ended has no children
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = (task / "children").read_text("ascii").split()
            found += (one for child in children for one in tree(int(child)))
    return found


def _status_kb(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    # a process that has ended and was not waited for has a status without memory
    raise ProcessLookupError(pid)
