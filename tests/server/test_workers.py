"""Several processes on one port: they look like one, and none is missed for long."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.http import REQUEST, ask, connected, eventually, names_of, post_bytes, read_until
from tests.server.test_shutdown import PARROT, SONG
from tests.support.serving import Process, dragoman_process

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="the test finds the workers under /proc"),
]
HELLO = {**REQUEST, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    """A server of three workers in front of one embedded engine."""
    environ = {"DRAGOMAN_TIMEOUTS__SHUTDOWN": "1", "DRAGOMAN_LOG_LEVEL": "warning"}
    with dragoman_process("--model", PARROT, "--workers", "3", environ=environ) as running:
        yield running


def answered(url: str) -> float:
    """How many Messages requests all workers together have answered, as their metrics say."""
    text = httpx.get(f"{url}/metrics").text
    found = re.search(r'requests_total\{model="parrot",route="/v1/messages",status="200"\} (\S+)', text)
    return float(found[1]) if found else 0.0


def workers_of(process: Process) -> list[int]:
    """The worker processes: the parent's children that have the server's socket."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text(
        encoding="ascii"
    )
    named = [int(child) for child in children.split()]
    return [pid for pid in named if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_their_metrics_are_one(process: Process) -> None:
    before = answered(process.url)
    for _ in range(12):
        assert ask(process.url, HELLO).status_code == 200
    assert answered(process.url) == before + 12


def test_a_thread_goes_on_at_whichever_is_asked(process: Process) -> None:
    message = ask(process.url, {**HELLO, "thread": {"type": "create"}}).json()
    read = [message["usage"]["input_tokens"]]
    for _ in range(9):
        # each on a connection of its own
        went_on = {"type": "continue", "previous_message_id": message["id"]}
        answer = ask(process.url, {**HELLO, "thread": went_on})
        assert answer.status_code == 200
        message = answer.json()
        usage = message["usage"]
        read.append(usage["input_tokens"] + usage["cache_read_input_tokens"])
    assert read == sorted(set(read))


def test_streams_work_as_with_one(process: Process) -> None:
    names = names_of(ask(process.url, {**HELLO, "stream": True}).content)
    assert (names[0], names[-1]) == ("message_start", "message_stop")


def test_one_that_dies_is_replaced_and_what_it_counted_stays(process: Process) -> None:
    ask(process.url, HELLO)
    before = answered(process.url)
    victim = workers_of(process)[0]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: victim not in workers_of(process) and len(workers_of(process)) == 3, 30)
    assert eventually(lambda: ask(process.url, HELLO).status_code == 200)
    assert answered(process.url) >= before + 1
    assert "dragoman_requests_running 1.0" in httpx.get(f"{process.url}/metrics").text


def test_a_signal_ends_them_all_with_a_word() -> None:
    environ = {"DRAGOMAN_TIMEOUTS__SHUTDOWN": "0.5"}
    with (
        dragoman_process("--model", PARROT, "--workers", "2", environ=environ) as process,
        connected(process.url) as sock,
    ):
        workers = workers_of(process)
        sock.sendall(post_bytes(process.url, SONG))
        read_until(sock, b"text_delta")
        process.signal()
        rest = read_until(sock, b"event: error")
        status, _, errors = process.ended()
    assert b"event: error" in rest
    assert status == 0
    assert "Traceback" not in errors
    assert len(workers) == 2
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_workers_do_not_outlive_a_parent_that_is_killed() -> None:
    with dragoman_process("--model", PARROT, "--workers", "2") as process:
        workers = workers_of(process)
        process.signal(signal.SIGKILL)
        process.ended()
        assert eventually(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], 30)


def test_a_second_signal_ends_them_at_once(tmp_path: Path) -> None:
    environ = {"DRAGOMAN_TIMEOUTS__SHUTDOWN": "600", "TMPDIR": str(tmp_path)}
    with (
        dragoman_process("--model", PARROT, "--workers", "2", environ=environ) as process,
        connected(process.url) as sock,
    ):
        workers = workers_of(process)
        sock.sendall(post_bytes(process.url, SONG))
        read_until(sock, b"message_start")
        process.signal()
        process.signal(signal.SIGINT)
        status, _, _ = process.ended()
        assert list(tmp_path.glob("dragoman-metrics-*")) == []
    assert status > 128
    assert eventually(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])
