"""The two commands that serve with Ray, as processes: they start, answer on loopback alone, and end whole."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from anthropic import Anthropic

from dragoman.ray import await_listener

ROOT = Path(__file__).parents[2]
PARROT = ROOT / "tests" / "models" / "parrot" / "parrot.gguf"
DRAGOMAN = [sys.executable, "-m", "dragoman", "serve", "--ray", "--port", "0"]
# Ray's own command, beside the interpreter that has it
SERVE_RUN = [str(Path(sys.executable).with_name("serve")), "run", "dragoman.ray:app"]
# Ray Serve's, where nothing says another
SERVES_PORT = 8000
SCRIPTED = """
[[engines]]
name = "east"
ray = { factory = "tests.ray.engines:telling", num_cpus = 0.1 }
"""
_UP = re.compile(r"(?:serves on|is ready at) (http://[^\s/]+)")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    # on a busy machine half of it passes until Ray is up
    pytest.mark.timeout(240),
]


class Command:
    """A command in a session of its own, by which all its processes are known."""

    def __init__(self, command: list[str], folder: Path) -> None:
        few = {"RAY_enable_metrics_collection": "0", "DRAGOMAN_RAY__REPLICA_CPUS": "0.1"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        # a cluster of its own, whatever else runs on this machine
        environ = {**kept, **few, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
        self._said = folder / "said.txt"
        with self._said.open("wb") as said:
            self._popen = subprocess.Popen(
                command, cwd=folder, env=environ, stdout=said, stderr=said, start_new_session=True
            )
        self._id = self._popen.pid

    @property
    def said(self) -> str:
        """What all its processes have said."""
        return self._said.read_text(errors="replace")

    def url(self, seconds: float = 120.0) -> str:
        """Where it says that it serves."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._popen.poll() is None:
            if found := _UP.search(self.said):
                return found[1]
            time.sleep(0.2)
        raise AssertionError(self.said)

    def processes(self) -> list[int]:
        """Those that run."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True)
        found = []
        for line in listed.stdout.splitlines():
            process, state = line.split()
            # one that ended before another was looked at
            with suppress(ProcessLookupError):
                if os.getsid(int(process)) == self._id and not state.startswith("Z"):
                    found.append(int(process))
        return found

    def ends(self, number: signal.Signals, seconds: float = 60.0) -> int:
        """Its exit status after a signal."""
        self._popen.send_signal(number)
        return self._popen.wait(seconds)

    def left(self, seconds: float = 10.0) -> list[int]:
        """Processes that run on after it; Ray's own see its end a moment later."""
        until = time.monotonic() + seconds
        while self.processes() and time.monotonic() < until:
            time.sleep(0.2)
        return self.processes()

    def kill(self) -> None:
        """Ends whatever is left."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._popen.wait()


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[Command]:
    started = Command(command, folder)
    try:
        yield started
    finally:
        started.kill()


def answered(url: str) -> str:
    """The text of one answer, through the SDK."""
    with Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        asked = client.messages.create(
            model=model, max_tokens=20, messages=[{"role": "user", "content": "count"}]
        )
    return "".join(block.text for block in asked.content if block.type == "text")


def is_open(host: str, url: str) -> bool:
    """Whether somebody listens there at the port of an address."""
    try:
        with socket.create_connection((host, int(url.rpartition(":")[2])), timeout=5):
            return True
    except OSError:
        return False


def is_on_loopback_alone(url: str) -> bool:
    """Who listens at all addresses also does at another one of loopback."""
    return url.startswith("http://127.0.0.1:") and is_open("127.0.0.1", url) and not is_open("127.0.0.2", url)


def test_dragoman_serves_engines_in_actors_until_it_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(SCRIPTED)
    with running(DRAGOMAN, tmp_path) as command:
        url = command.url()
        assert answered(url).startswith("0 1 2 ")
        assert is_on_loopback_alone(url)
        assert command.ends(signal.SIGINT) == 0, command.said
        assert command.left() == []
        assert not is_open("127.0.0.1", url)


def test_dragoman_serves_the_embedded_engine_until_it_is_terminated(tmp_path: Path) -> None:
    with running([*DRAGOMAN, "--model", str(PARROT)], tmp_path) as command:
        url = command.url()
        assert answered(url)
        assert is_on_loopback_alone(url)
        assert command.ends(signal.SIGTERM) == 0, command.said
        assert command.left() == []


@pytest.mark.skipif(is_open("127.0.0.1", f":{SERVES_PORT}"), reason="Ray Serve's own port is in use")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_run_serves_until_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(SCRIPTED)
    with running(SERVE_RUN, tmp_path) as command:
        url = command.url()
        assert url == f"http://127.0.0.1:{SERVES_PORT}"
        # Serve's word may come before its proxy listens
        await_listener("127.0.0.1", SERVES_PORT)
        assert answered(url).startswith("0 1 2 ")
        assert is_on_loopback_alone(url)
        command.ends(number)
        assert command.left() == []
