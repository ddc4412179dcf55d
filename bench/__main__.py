"""Runs the benchmark: `python -m bench`. Writes build/bench.json and prints a table."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import canned, processes
from bench.check import check_answer
from bench.load import Load

OUTPUT = processes.ROOT / "build" / "bench.json"
DRAGOMAN = str(Path(sys.executable).with_name("dragoman"))


class Server(msgspec.Struct, frozen=True):
    """A server under test: its name, port and process."""

    name: str
    port: int
    pid: int


class Run(msgspec.Struct, frozen=True):
    """One measured run of one server."""

    server: str
    cpu_us_per_token: float
    tokens_per_s: float
    ttft_p50_ms: float
    tokens: int
    cpu_s: float
    load: Load


class Result(msgspec.Struct, frozen=True):
    """What is written: the medians by server first, then everything they come from."""

    cpu_us_per_token: dict[str, float]
    ratio: float
    tokens_per_s: dict[str, float]
    ttft_p50_ms: dict[str, float]
    resident_mb: dict[str, float]
    streams: int
    tokens_per_stream: int
    machine: str
    runs: list[Run]


def start_servers(stack: ExitStack) -> list[Server]:
    """The canned engine, Dragoman in front of it, and the relay in front of it."""
    under_test, elsewhere = processes.cores()
    engine, ours, relay = (processes.free_port() for _ in range(3))
    url = f"http://127.0.0.1:{engine}"
    state = stack.enter_context(tempfile.TemporaryDirectory())

    def start(command: list[str], port: int, on: set[int], path: str) -> int:
        environment = {"BENCH_ENGINE": url, "DRAGOMAN_STATE_DIR": state, "DRAGOMAN_LOG_LEVEL": "warning"}
        answering = f"http://127.0.0.1:{port}{path}"
        running = processes.running([*command, "--port", str(port)], on, environment, answering)
        return stack.enter_context(running)

    start([sys.executable, "-m", "bench.engine"], engine, elsewhere, "/health")
    dragoman = start([DRAGOMAN, "serve", "--engine", url], ours, under_test, "/ready")
    copies = start([sys.executable, "-m", "bench.relay"], relay, under_test, "/ready")
    return [Server("dragoman", ours, dragoman), Server("relay", relay, copies)]


def measure(server: Server, streams: int, total: int) -> Run:
    """The CPU time that the server spends on a load, over the tokens that reached the client."""
    _, elsewhere = processes.cores()
    command = [sys.executable, "-m", "bench.load", "--port", str(server.port)]
    command += ["--streams", str(streams), "--total", str(total)]
    before = processes.cpu_seconds(server.pid)
    with processes.popen(command, elsewhere, stdout=subprocess.PIPE) as client:
        out, _ = client.communicate(timeout=600)
    cpu = processes.cpu_seconds(server.pid) - before
    load = msgspec.json.decode(out, type=Load)
    if load.broken:
        raise RuntimeError(f"{server.name}: {load.broken} of {total} streams did not end as they should")
    tokens = load.streams * canned.TOKENS
    return Run(
        server=server.name,
        cpu_us_per_token=cpu * 1e6 / tokens,
        tokens_per_s=tokens / load.wall_s,
        ttft_p50_ms=load.ttft_p50_ms,
        tokens=tokens,
        cpu_s=cpu,
        load=load,
    )


def summary(servers: list[Server], runs: list[Run], streams: int) -> Result:
    """The medians of all runs."""

    def median(figure: str) -> dict[str, float]:
        return {
            server.name: round(
                statistics.median(getattr(run, figure) for run in runs if run.server == server.name), 2
            )
            for server in servers
        }

    cpu = median("cpu_us_per_token")
    return Result(
        cpu_us_per_token=cpu,
        ratio=round(cpu["dragoman"] / cpu["relay"], 2),
        tokens_per_s=median("tokens_per_s"),
        ttft_p50_ms=median("ttft_p50_ms"),
        resident_mb={server.name: round(processes.resident_mb(server.pid), 1) for server in servers},
        streams=streams,
        tokens_per_stream=canned.TOKENS,
        machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        runs=runs,
    )


def print_table(result: Result) -> None:
    """The medians, one row per server."""
    title = f"{result.streams} streams of {result.tokens_per_stream} tokens at full speed, medians"
    table = Table("", "CPU us/token", "tokens/s", "TTFT p50 ms", "MB", title=title)
    for name, cpu in result.cpu_us_per_token.items():
        speed, first = result.tokens_per_s[name], result.ttft_p50_ms[name]
        table.add_row(name, f"{cpu:.2f}", f"{speed:,.0f}", f"{first:.1f}", f"{result.resident_mb[name]:.0f}")
    Console().print(table)
    print(f"dragoman / relay: {result.ratio}")


def main() -> None:
    """Runs the servers in turn, so that a busy moment of the machine meets both."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--streams", type=int, default=32, help="streams at a time (default 32)")
    parser.add_argument("--total", type=int, default=640, help="streams in one run (default 640)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each server (default 5)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the figures go (build/bench.json)")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = start_servers(stack)
        check_answer(servers[0].port)
        for server in servers:
            measure(server, options.streams, options.streams * 2)
        runs = [
            measure(server, options.streams, options.total) for _ in range(options.runs) for server in servers
        ]
        result = summary(servers, runs, options.streams)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    print_table(result)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
