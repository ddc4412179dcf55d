"""How servers start: with engines that are not there, with settings that cannot be, and in others' hands."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from dragoman.errors import EngineUnavailableError, SettingsError
from dragoman.server.app import DragomanApp, create_app
from dragoman.server.run import address_of, bind, check_engines
from dragoman.service import MessagesService
from dragoman.settings import EngineEntry, Settings, Timeouts
from tests.server.http import REQUEST, ask, error_of
from tests.support.serving import dragoman_process

PARROT = str(Path(__file__).parents[1] / "models" / "parrot" / "parrot.gguf")
NOBODY = "http://127.0.0.1:9"


def failed(*arguments: str, cwd: Path, **environ: str) -> str:
    """What the command says when it does not start; fails where that is no sentence, or not status 2."""
    done = subprocess.run(
        [sys.executable, "-m", "dragoman", "serve", "--port", "0", *arguments],
        env={**os.environ, **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("dragoman: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_engine_that_is_down_is_waited_for(workers: str, tmp_path: Path) -> None:
    with dragoman_process("--engine", NOBODY, "--workers", workers, cwd=tmp_path) as process:
        ready = httpx.get(f"{process.url}/ready")
        assert ready.status_code == 503
        assert "unreachable" in error_of(ready)["message"]
        refused = ask(process.url)
        assert refused.status_code == 529
        assert error_of(refused)["type"] == "overloaded_error"
        assert NOBODY not in refused.text
        process.signal()
        status, said, errors = process.ended()
    assert status == 0
    up = f"is up on {process.url}, but no engine answers yet\nmodels: none yet\n"
    assert f"{up}127.0.0.1:9 is unreachable: no connection to 127.0.0.1 port 9: " in said
    assert "ANTHROPIC_MODEL" not in said
    assert errors.count('the engine is unreachable engine=127.0.0.1:9 status=unreachable detail="no') == int(
        workers
    )
    assert "Traceback" not in errors


BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


# How a shell's script starts what it leaves in the background: Ctrl-C is ignored there.
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]


@BOTH_SIGNALS
@pytest.mark.parametrize("before", [[], IN_THE_BACKGROUND], ids=["alone", "in the background"])
def test_a_signal_ends_a_start_that_waits(number: signal.Signals, before: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [*before, sys.executable, "-m", "dragoman", "serve", "--port", "0", "--engine", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            asked, _ = silent.accept()
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
            asked.close()
    assert process.returncode == 128 + number
    assert "Traceback" not in errors


# A model that takes longer to load than any test may take.
LOADING = """
import sys, threading
from dragoman.cli.main import main
from dragoman.engines.llamacpp import LlamaCppInferenceEngine

def load(self, found):
    print("loads", flush=True)
    threading.Event().wait()

LlamaCppInferenceEngine._load = load
sys.exit(main(["serve", "--port", "0", "--model", sys.argv[1], *sys.argv[2:]]))
"""


@pytest.mark.engine
@BOTH_SIGNALS
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_a_start_whose_model_is_being_loaded(number: signal.Signals, workers: str) -> None:
    command = [sys.executable, "-c", LOADING, PARROT, "--workers", workers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loads\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_worker_cannot_use_is_said_once(workers: str, tmp_path: Path) -> None:
    # not measured: a worker that is ended while it writes its coverage says so, too
    unmeasured = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
    said = failed("--engine", NOBODY, "--engine", NOBODY, "--workers", workers, cwd=tmp_path, **unmeasured)
    assert "give them names" in said
    assert said.count("\n") == 1


def test_a_wrong_signature_key_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    assert "signature_key must hold keys" in failed(cwd=tmp_path, DRAGOMAN_SIGNATURE_KEY="short")


def test_a_folder_that_is_none_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    said = failed("--model", PARROT, cwd=tmp_path, DRAGOMAN_SERVER_TOOLS__FOLDER="library")
    assert said == f"dragoman: settings: server_tools.folder: {tmp_path / 'library'} is no folder\n"


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1"), ("0.0.0.0", "http://127.0.0.1")]
)
def test_the_address_that_is_shown_can_be_reached(host: str, shown: str) -> None:
    with bind(Settings(host=host, port=0, api_keys={"me": "k"})) as sock:
        assert address_of(sock) == f"{shown}:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    ("bound", "engine", "is_own"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "no.such.host.invalid", False),
        ("127.0.0.1", "[::1]", False),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "192.0.2.1", False),
        ("::1", "[::1]", True),
    ],
)
def test_an_engine_at_the_servers_own_address_is_refused(bound: str, engine: str, is_own: bool) -> None:
    with bind(Settings(host=bound, port=0, api_keys={"me": "k"})) as sock:
        port = sock.getsockname()[1]
        entries = tuple(EngineEntry(url=f"http://{engine}:{number}") for number in (port, port - 1))
        check_engines(Settings(engines=entries[1:]), sock)
        with pytest.raises(SettingsError, match="listens on itself") if is_own else nullcontext():
            check_engines(Settings(engines=entries), sock)


@pytest.mark.parametrize(
    "place", ["127.0.0.1:99999", "[::1", "u:topsecret@127.0.0.1:1", "h/v1?key=topsecret"]
)
def test_an_engines_address_that_is_none_is_a_sentence_without_keys(place: str, tmp_path: Path) -> None:
    said = failed("--engine", f"http://{place}", cwd=tmp_path)
    assert "engines: " in said
    assert "topsecret" not in said


def test_ipv6_stands_in_brackets() -> None:
    with bind(Settings(host="::1", port=0)) as sock:
        assert address_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


# ---- in others' hands -----------------------------------------------------------------


async def test_another_server_runs_the_app_and_its_engines(tmp_path: Path) -> None:
    engine = ScriptedInferenceEngine({"": answer("Hello.")})
    app = create_app(engine, Settings(state_dir=str(tmp_path)))
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    outgoing: asyncio.Queue[Any] = asyncio.Queue()
    incoming.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan", "state": {}}, incoming.get, outgoing.put))
    started = await outgoing.get()
    assert [card.id for card in await app.service.models()] == ["scripted"]
    incoming.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert [started["type"], outgoing.get_nowait()["type"]] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


class Slow(ScriptedInferenceEngine):
    """An engine that starts when it is let, and counts how often it is asked to; `failures` starts fail."""

    def __init__(self, *, failures: int = 0) -> None:
        super().__init__({"": answer("Hello.")})
        self.let = asyncio.Event()
        self.starts = 0
        self._failures = failures

    async def start(self) -> None:
        self.starts += 1
        await self.let.wait()
        if self.starts <= self._failures:
            raise EngineUnavailableError("no model file at /secret/place")


@asynccontextmanager
async def mounted(
    engine: ScriptedInferenceEngine, tmp_path: Path, **timeouts: float
) -> AsyncIterator[tuple[DragomanApp, httpx.AsyncClient]]:
    """An application under /llm of another one, and a client of that one; nobody runs its lifespan."""
    app = create_app(engine, Settings(state_dir=str(tmp_path), timeouts=Timeouts(**timeouts)))
    outer = httpx.ASGITransport(Starlette(routes=[Mount("/llm", app)]))
    async with httpx.AsyncClient(transport=outer, base_url="http://localhost") as client:
        yield app, client
    await app.service.aclose()


async def test_it_mounts_under_a_path(tmp_path: Path) -> None:
    async with mounted(ScriptedInferenceEngine({"": answer("Hello.")}), tmp_path) as (app, client):
        assert isinstance(app.service, MessagesService)
        assert create_app(app.service).service is app.service
        assert (await client.post("/llm/v1/messages", json=REQUEST)).status_code == 200
        assert (await client.get("/llm/v1/models/claude-x")).json()["id"] == "claude-x"
        assert (await client.get("/v1/models")).text == "Not Found"


@pytest.mark.parametrize("path", ["/llm/ready", "/llm/v1/models"])
async def test_the_first_request_to_a_mounted_app_starts_its_engines(tmp_path: Path, path: str) -> None:
    engine = Slow()
    engine.let.set()
    async with mounted(engine, tmp_path) as (_, client):
        assert (await client.get("/llm/health")).status_code == 200
        assert engine.starts == 0
        assert (await client.get(path)).status_code == 200
        assert (await client.post("/llm/v1/messages", json=REQUEST)).status_code == 200
    assert engine.starts == 1


async def test_many_first_requests_start_them_once(tmp_path: Path) -> None:
    engine = Slow()
    async with mounted(engine, tmp_path) as (_, client):
        asking = [
            asyncio.create_task(client.post("/llm/v1/messages", json=REQUEST)),
            asyncio.create_task(client.get("/llm/ready")),
            asyncio.create_task(client.get("/llm/v1/models")),
        ]
        while not engine.starts:  # noqa: ASYNC110 - it is a request that starts it
            await asyncio.sleep(0)
        asking.pop().cancel()
        engine.let.set()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200, 200]
    assert engine.starts == 1


async def test_while_they_start_a_mounted_app_says_so(tmp_path: Path) -> None:
    engine = Slow()
    async with mounted(engine, tmp_path, probe=0.01, first_byte=0.01) as (_, client):
        ready, refused = await client.get("/llm/ready"), await client.post("/llm/v1/messages", json=REQUEST)
        assert (ready.status_code, refused.status_code) == (503, 529)
        assert error_of(ready)["message"] == error_of(refused)["message"] == "the engines are still starting"
        assert refused.headers["retry-after"] == "5"
    assert engine.starts == 1


async def test_a_start_that_failed_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Slow(failures=2)
    engine.let.set()
    async with mounted(engine, tmp_path) as (_, client):
        ready, refused = await client.get("/llm/ready"), await client.post("/llm/v1/messages", json=REQUEST)
        assert (ready.status_code, refused.status_code) == (503, 500)
        assert error_of(ready)["message"] == error_of(refused)["message"] == "the engines cannot be started"
        assert caplog.records[0].__dict__["fields"]["detail"] == "no model file at /secret/place"
        assert (await client.post("/llm/v1/messages", json=REQUEST)).status_code == 200
        assert (await client.get("/llm/ready")).status_code == 200


async def test_a_websocket_is_closed(tmp_path: Path) -> None:
    app = create_app(ScriptedInferenceEngine([]), Settings(state_dir=str(tmp_path)))
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "websocket", "path": "/v1/messages", "headers": []}, receive, send)
    assert sent == ["websocket.close"]
