"""The servers under test: how each is started, asked and checked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import environments, processes
from bench.environments import Installed
from bench.processes import BenchError, Running

OURS = ("dragoman", "relay")
PEERS = (*OURS, "smg", "litellm")
DIRECT = "direct"
# Enough for a thousand live streams on every server that has such a bound.
CONNECTIONS = "1100"

WHAT = {
    DIRECT: "the canned engine itself",
    "dragoman": "Messages API translated",
    "relay": "bytes copied on Dragoman's server stack (uvicorn, Starlette, aiohttp)",
    "smg": "the Rust gateway, Chat Completions relayed without translation",
    "litellm": "LiteLLM's proxy, Messages API translated",
}


class Place(msgspec.Struct, frozen=True):
    """Where a server starts: its port, a second one, the engine behind it, a folder of its own."""

    port: int
    other_port: int
    engine: str
    folder: Path


class Server(msgspec.Struct, frozen=True):
    """One server under test: how it is started, where it says that it is ready, and what it is asked."""

    name: str
    path: str
    form: str
    ready: str
    command: Callable[[Path, Place], list[str]]
    environment: Callable[[Place], Mapping[str, str]]


class Live(msgspec.Struct, frozen=True):
    """A server that runs."""

    server: Server
    port: int
    running: Running


def _dragoman(programs: Path, place: Place) -> list[str]:
    return [
        str(programs / "python"),
        str(programs / "dragoman"),
        *("serve", "--engine", place.engine, "--port", str(place.port)),
    ]


def _relay(programs: Path, place: Place) -> list[str]:
    return [str(programs / "python"), "-m", "bench.relay", "--port", str(place.port)]


def _smg(programs: Path, place: Place) -> list[str]:
    return [
        str(programs / "python"),
        str(programs / "smg"),
        *("launch", "--host", "127.0.0.1", "--port", str(place.port), "--worker-urls", place.engine),
        *("--policy", "passthrough", "--history-backend", "none", "--disable-health-check"),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.other_port)),
        *("--log-level", "error", "--shutdown-grace-period-secs", "1"),
    ]


def _litellm(programs: Path, place: Place) -> list[str]:
    # `hosted_vllm` is its name for an OpenAI-compatible server that is asked on /v1/chat/completions
    parameters = {"model": "hosted_vllm/canned", "api_base": f"{place.engine}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "canned", "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    # JSON is YAML too
    file = place.folder / "litellm.yaml"
    file.write_bytes(msgspec.json.encode(config))
    return [
        str(programs / "python"),
        str(programs / "litellm"),
        *("--config", str(file), "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"),
    ]


def _dragoman_environment(place: Place) -> dict[str, str]:
    return {
        "DRAGOMAN_STATE_DIR": str(place.folder),
        "DRAGOMAN_LOG_LEVEL": "warning",
        "DRAGOMAN_LIMITS__REQUESTS": CONNECTIONS,
        "DRAGOMAN_LIMITS__ENGINE_CONNECTIONS": CONNECTIONS,
    }


def _litellm_environment(_: Place) -> dict[str, str]:
    return {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_TELEMETRY": "False",
        # it serves on loopback without keys, as the others do
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "AIOHTTP_CONNECTOR_LIMIT": CONNECTIONS,
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": CONNECTIONS,
    }


SERVERS = {
    server.name: server
    for server in (
        Server("dragoman", "/v1/messages", "messages", "/ready", _dragoman, _dragoman_environment),
        Server("relay", "/v1/messages", "messages", "/ready", _relay, lambda at: {"BENCH_ENGINE": at.engine}),
        Server("smg", "/v1/chat/completions", "chat", "/readiness", _smg, lambda _: {}),
        Server("litellm", "/v1/messages", "messages", "/health/readiness", _litellm, _litellm_environment),
    )
}


def _engine(programs: Path, place: Place) -> list[str]:
    return [str(programs / "python"), "-m", "bench.engine", "--port", str(place.port)]


ENGINE = Server(DIRECT, "/v1/chat/completions", "chat", "/health", _engine, lambda _: {})


@contextmanager
def started(server: Server, installed: Installed, engine: str, folder: Path) -> Iterator[Live]:
    """A server, ready; the engine runs beside the client, all others on the core under test."""
    under_test, elsewhere = processes.cores()
    place = Place(processes.free_port(), processes.free_port(), engine, folder)
    command, environment = server.command(installed.programs, place), server.environment(place)
    on = elsewhere if server.name == DIRECT else under_test
    ready = f"http://127.0.0.1:{place.port}{server.ready}"
    with processes.running(command, on, environment, ready) as running:
        yield Live(server, place.port, running)


def installed_for(name: str, here: bool) -> Installed:
    """The environment of a server; `here` takes the running one for those that it holds."""
    if name == DIRECT or (here and name in OURS):
        return Installed(Path(sys.executable).parent, 0.0, 0, version_here())
    return environments.make("dragoman" if name == "relay" else name)


def version_here() -> str:
    """What the running environment's Dragoman says it is."""
    program = Path(sys.executable).with_name("dragoman")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"dragoman does not run: {done.stderr[-200:]}")
    return done.stdout.split()[-1]
