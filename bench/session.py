"""One agent's session: every turn resends the growing history; what each costs the server, by its bytes."""

from __future__ import annotations

import argparse
import itertools
import socket
import statistics
from collections.abc import Iterator

import msgspec

from bench import bodies, processes
from bench.load import END, GOOD, LAST_EVENTS, http_request
from bench.processes import BenchError

SECONDS = 60.0
READ = 1 << 18


class Turn(msgspec.Struct, frozen=True):
    """One turn: the bytes of its request, and the CPU time that it took the server."""

    bytes: int
    cpu_us: float


class Line(msgspec.Struct, frozen=True):
    """A cost per request and one per byte."""

    fixed_us: float
    us_per_kb: float

    def at(self, turn: Turn) -> float:
        """What the line says about a turn."""
        return self.fixed_us + self.us_per_kb * turn.bytes / 1000


def turns_of(port: int, path: str, pid: int, requests: Iterator[bytes]) -> Iterator[Turn]:
    """Sends the requests one after the other over one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        before = processes.cpu_seconds(pid)
        for request in requests:
            connection.sendall(http_request(path, request))
            read_answer(connection)
            after = processes.cpu_seconds(pid)
            yield Turn(len(request), (after - before) * 1e6)
            before = after


def read_answer(connection: socket.socket) -> None:
    """Reads one whole stream; raises when it is none."""
    answer = connection.recv(READ)
    if not answer.startswith(GOOD):
        raise BenchError(f"answered {answer[:100].decode(errors='replace')}")
    while not answer.endswith(END):
        more = connection.recv(READ)
        if not more:
            raise BenchError("the connection was closed inside an answer")
        answer += more
    if not any(mark in answer for mark in LAST_EVENTS):
        raise BenchError("an answer ended without its last event")


def medians(sessions: list[list[Turn]]) -> list[Turn]:
    """The sessions as one: each turn with the median of its costs."""
    return [
        Turn(same[0].bytes, statistics.median(turn.cpu_us for turn in same))
        for same in zip(*sessions, strict=True)
    ]


def line_through(turns: list[Turn]) -> Line:
    """The line through the costs by their bytes that single busy moments do not bend (Theil and Sen's).

    More bytes never cost less: where the noise says so, the cost is a fixed one.
    """
    pairs = itertools.combinations(turns, 2)
    slopes = [
        (two.cpu_us - one.cpu_us) / (two.bytes - one.bytes) * 1000
        for one, two in pairs
        if one.bytes != two.bytes
    ]
    slope = max(0.0, statistics.median(slopes))
    return Line(statistics.median(turn.cpu_us - slope * turn.bytes / 1000 for turn in turns), slope)


def us_per_kb(turns: list[Turn]) -> float:
    """What these turns cost for each KB of their requests."""
    return sum(turn.cpu_us for turn in turns) / sum(turn.bytes / 1000 for turn in turns)


def growth(turns: list[Turn], ends: int) -> float:
    """The cost of the last turns over what the line through the first half says about them: 1 is flat."""
    line, last = line_through(turns[: len(turns) // 2]), turns[-ends:]
    return sum(turn.cpu_us for turn in last) / sum(map(line.at, last))


def main() -> None:
    """Plays one session and prints its turns as JSON."""
    parser = argparse.ArgumentParser(prog="bench.session", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--form", choices=sorted(bodies.WRITERS), required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--turns", type=int, default=bodies.SESSION_TURNS)
    options = parser.parse_args()
    requests = bodies.session(options.form, options.turns)
    turns = list(turns_of(options.port, options.path, options.pid, requests))
    print(msgspec.json.encode(turns).decode())


if __name__ == "__main__":
    main()
