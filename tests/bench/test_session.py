"""The session's figures: a cost that its bytes explain is flat, one that grows by itself is not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.engine import Mode
from bench.processes import BenchError
from bench.session import Turn, growth, line_through, medians, turns_of, us_per_kb

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def linear(turns: int, extra: float = 0.0) -> list[Turn]:
    """Turns that cost 300 us and 2 us a KB, and so much more for every turn before."""
    return [
        Turn(10_000 + 1_000 * number, 300.0 + 2.0 * (10 + number) + extra * number**2)
        for number in range(turns)
    ]


def test_the_line_is_found() -> None:
    line = line_through(linear(100))
    assert line.fixed_us == pytest.approx(300.0)
    assert line.us_per_kb == pytest.approx(2.0)


def test_single_busy_moments_do_not_bend_the_line() -> None:
    turns = [
        Turn(turn.bytes, turn.cpu_us + 5_000 * (number % 10 == 9)) for number, turn in enumerate(linear(100))
    ]
    assert line_through(turns).us_per_kb == pytest.approx(2.0, rel=0.05)


def test_more_bytes_never_cost_less() -> None:
    turns = [Turn(1_000 * number, 500.0 - number) for number in range(1, 10)]
    assert (line_through(turns).fixed_us, line_through(turns).us_per_kb) == (495.0, 0.0)


def test_a_cost_that_bytes_explain_is_flat() -> None:
    assert growth(linear(200), 20) == pytest.approx(1.0)


def test_a_cost_that_grows_faster_is_seen() -> None:
    assert growth(linear(200, extra=0.02), 20) > 1.1


def test_costs_per_kb() -> None:
    assert us_per_kb([Turn(1_000, 5.0), Turn(3_000, 7.0)]) == 3.0


def test_sessions_become_one_of_medians() -> None:
    played = [[Turn(10, 1.0), Turn(20, 9.0)], [Turn(10, 3.0), Turn(20, 2.0)], [Turn(10, 2.0), Turn(20, 4.0)]]
    assert medians(played) == [Turn(10, 2.0), Turn(20, 4.0)]


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that answers its one client so, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                for answer in answers:
                    client.recv(1 << 16)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_every_turn_is_asked_and_costed() -> None:
    whole = Mode().whole
    with answering(whole, whole) as port:
        turns = list(turns_of(port, "/v1/messages", os.getpid(), iter([b"{}", b"[1]"])))
    assert [turn.bytes for turn in turns] == [2, 3]
    assert all(turn.cpu_us >= 0 for turn in turns)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 500 Oh\r\n\r\n", "answered HTTP/1.1 500 Oh"),
        (HEAD + b"5\r\nhello\r\n", "closed inside an answer"),
        (HEAD + b"0\r\n\r\n", "without its last event"),
    ],
)
def test_a_broken_answer_ends_the_session(answer: bytes, why: str) -> None:
    with answering(answer) as port, pytest.raises(BenchError, match=why):
        list(turns_of(port, "/v1/messages", os.getpid(), iter([b"{}"])))
