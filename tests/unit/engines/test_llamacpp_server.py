"""llama.cpp inside this process: its start, its door, its end, and what is said where it cannot start."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from dragoman.engines.llamacpp import server as server_module
from dragoman.engines.llamacpp.params import ServerParams
from dragoman.engines.llamacpp.server import LlamaServer, has_gpu, load_library
from dragoman.errors import EngineUnavailableError

PARROT = Path(__file__).parents[2] / "models" / "parrot" / "parrot.gguf"


def parameters(model: Path = PARROT) -> ServerParams:
    """Parameters for a small server."""
    return ServerParams(
        model=model, name="parrot", key="secret", context=1024, parallel=2, threads=1, batch=32
    )


def status(address: str, path: str, key: str) -> int:
    """The status of a GET."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture
def server() -> Iterator[LlamaServer]:
    """A server with the parrot."""
    started = LlamaServer.start(parameters())
    yield started
    started.stop()


@pytest.mark.engine
def test_only_the_key_opens_the_loopback_door(server: LlamaServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")
    assert status(server.address, "/slots", "secret") == 200
    assert status(server.address, "/slots", "wrong") == 401


@pytest.mark.engine
def test_stopping_closes_the_door(server: LlamaServer) -> None:
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        status(server.address, "/health", "secret")


@pytest.mark.engine
def test_llama_cpp_is_silent_at_work(capfd: pytest.CaptureFixture[str]) -> None:
    started = LlamaServer.start(parameters())
    assert status(started.address, "/health", "secret") == 200
    started.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.engine
def test_openmp_threads_are_told_to_wait_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    load_library()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.engine
def test_a_file_that_llama_cpp_cannot_load_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(PARROT.read_bytes()[:200_000])
    with pytest.raises(EngineUnavailableError, match=r"llama\.cpp cannot load .*/cut\.gguf"):
        LlamaServer.start(parameters(cut))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'xllamacpp'"), r"pip install 'dragoman\[local\]'"),
        (
            ImportError("libgomp.so.1: cannot open shared object file: No such file or directory"),
            "apt-get install -y libgomp1",
        ),
        (ImportError("libstdc++.so.6: version not found"), r"cannot be loaded: libstdc\+\+\.so\.6"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    error: ImportError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(EngineUnavailableError, match=words):
        load_library()


@pytest.mark.parametrize(
    ("types", "found"), [(["cpu"], False), (["cpu", "accel"], False), (["cpu", "gpu"], True)]
)
def test_a_gpu_is_whatever_is_no_processor(
    types: list[str], found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = SimpleNamespace(GGML_BACKEND_DEVICE_TYPE_CPU="cpu", GGML_BACKEND_DEVICE_TYPE_ACCEL="accel")
    library = SimpleNamespace(
        ggml_backend_dev_type=kinds, get_device_info=lambda: [{"type": kind} for kind in types]
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    assert has_gpu() is found


def test_the_module_reads_no_library_when_it_is_imported() -> None:
    assert "xllamacpp" not in vars(server_module)
