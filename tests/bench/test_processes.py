"""Processes and environments: measured with their children, ended in the end, and named when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import environments, processes
from bench.processes import BenchError

ON = os.sched_getaffinity(0)
SERVE = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
THREADS = """
import threading
print("on", flush=True)
while True:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
"""
BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ntime.sleep(60)"


def python(code: str, *arguments: str) -> list[str]:
    """The command that runs some Python."""
    return [sys.executable, "-c", code, *arguments]


def test_a_server_runs_until_the_end_and_tells_its_start() -> None:
    port = processes.free_port()
    with processes.running(python(SERVE, str(port)), ON, {}, f"http://127.0.0.1:{port}/") as running:
        assert os.sched_getaffinity(running.pid) == ON
        assert running.start_s > 0
        assert processes.memory_mb(running.pid, "VmHWM") >= processes.memory_mb(running.pid, "VmRSS") > 1
        pid = running.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_ends_at_once_is_named_with_its_last_words() -> None:
    command = python("import sys; sys.exit('no luck')")
    with (
        pytest.raises(BenchError, match="did not start: no luck"),
        processes.running(command, ON, {}, f"http://127.0.0.1:{processes.free_port()}/"),
    ):
        pass


def test_a_server_that_never_answers_is_given_up() -> None:
    command, nowhere = python("import time; time.sleep(60)"), f"http://127.0.0.1:{processes.free_port()}/"
    with (
        pytest.raises(BenchError, match="it said nothing"),
        processes.running(command, ON, {}, nowhere, seconds=0.3),
    ):
        pass


@contextmanager
def speaking(command: list[str]) -> Iterator[int]:
    """A process that has said its first word; it and its children are ended in the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process.pid
        finally:
            for one in processes.tree(process.pid):
                os.kill(one, signal.SIGKILL)


def test_cpu_time_of_children_counts() -> None:
    parent = python("import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])", BURN)
    with speaking(parent) as pid:
        child = processes.tree(pid)[1:]
        assert len(child) == 1
        assert processes.cpu_seconds(pid) >= processes.cpu_seconds(child[0]) >= 0.3


def test_the_cpu_clock_is_the_kernels() -> None:
    own = time.process_time()
    assert own <= processes.cpu_seconds(os.getpid()) <= time.process_time() + 60


def test_a_process_that_has_ended_has_no_figures() -> None:
    with subprocess.Popen(python("")) as process:
        process.wait()
    with pytest.raises(BenchError, match="ended"):
        processes.cpu_seconds(process.pid)
    with pytest.raises(BenchError, match="ended"):
        processes.memory_mb(process.pid, "VmRSS")


def test_a_zombie_has_no_memory() -> None:
    with subprocess.Popen(python("print('ended')"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"ended\n"
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(BenchError, match="ended"):
            processes.memory_mb(process.pid, "VmRSS")


def test_threads_that_come_and_go_disturb_nothing() -> None:
    with speaking(python(THREADS)) as pid:
        before = processes.cpu_seconds(pid)
        for _ in range(2000):
            assert processes.tree(pid) == [pid]
        assert processes.cpu_seconds(pid) > before


def test_a_helper_that_fails_is_named_with_its_last_words() -> None:
    with pytest.raises(BenchError, match=r"failed: .*no luck"):
        processes.output_of(python("import sys; sys.exit('no luck')"), ON, 60)


def test_a_helper_that_does_not_end_is_ended() -> None:
    with pytest.raises(BenchError, match="did not end within 0 s"):
        processes.output_of(python("import time; time.sleep(60)"), ON, 0.2)


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"not installed: .*no-such-lock"):
        environments.install(tmp_path, "-r", str(tmp_path / "no-such-lock.txt"))


def test_an_environment_is_made_once_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "empty.txt"
    lock.write_text("# nothing\n", "utf-8")
    monkeypatch.setitem(environments.LOCKS, "smg", lock)
    made = environments.make("smg", tmp_path / "venvs")
    kept = tmp_path / "venvs" / "smg" / "kept"
    kept.touch()
    again = environments.make("smg", tmp_path / "venvs")
    assert kept.exists()
    assert (made.packages, made.version) == (again.packages, again.version) == (0, "")
    lock.write_text("# another lock\n", "utf-8")
    environments.make("smg", tmp_path / "venvs")
    assert not kept.exists()
    assert (made.programs / "python").exists()


def test_an_environment_tells_its_size_and_packages(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("smg-1.13.0.dist-info", "other-2.0.dist-info", "other"):
        (packages / name).mkdir(parents=True)
    (packages / "other" / "data").write_bytes(bytes(500_000))
    (packages / "link").symlink_to(packages / "other" / "data")
    found = environments.inspect(tmp_path, "smg")
    assert (found.mb, found.packages, found.version) == (0.5, 2, "1.13.0")
