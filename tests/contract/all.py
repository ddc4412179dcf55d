"""The contract over every real engine, each in its own environment: `make contract-all ENGINES="vllm"`.

Makes the environments that are missing (under `CONTRACT_DIR`, by default `.contract`), serves the parrot on a
free loopback port, runs the suite, and prints one table. What was said is kept in `logs` there.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from dragoman.engines.vllm.arguments import command_line
from tests.contract.conftest import VLLM_ARGUMENTS
from tests.contract.environments import CACHE, KERNELS, ROOT, python_of
from tests.support.dialogues import CONTEXT, MODEL, PARROT

START_SECONDS = 400
# Of what pytest tells of failures, that many lines are shown, and its last ones.
_FAILURE_LINES = 120
SUITE = [
    f"tests/contract/test_{name}.py" for name in ("engines", "doors", "control", "outliving", "transformers")
]
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
_QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_CACHE": str(CACHE / "hub"),
}
_VLLM = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
_SGLANG = {"SGLANG_USE_CPU_ENGINE": "1", "PYTHONPATH": str(KERNELS)}


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine gets to the contract.

    environment: the one it needs, "" for this one. command: serves the parrot at a port. param: its name in
    the suite, where the suite starts it. plain: it serves chats only, and is held to what it lacks as well.
    """

    environment: str = ""
    command: Callable[[Path, int], list[str]] | None = None
    param: str = ""
    in_process: str = ""
    plain: bool = False
    variables: dict[str, str] = {}


class Outcome(msgspec.Struct, kw_only=True):
    """What came of one engine."""

    engine: str
    counts: dict[str, int] = {}
    seconds: float = 0.0
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the whole suite ran and holds."""
        return not self.trouble and self.counts.get("passed", 0) > 0


def _vllm(python: Path, port: int) -> list[str]:
    words = command_line("", VLLM_ARGUMENTS)[1:]
    serve = [str(python.with_name("vllm")), "serve", str(PARROT / "hf")]
    return [*serve, "--host", "127.0.0.1", "--port", str(port), *words]


def _sglang(python: Path, port: int) -> list[str]:
    options = {
        "model-path": PARROT / "hf",
        "served-model-name": MODEL,
        "host": "127.0.0.1",
        "port": port,
        "device": "cpu",
        "attention-backend": "torch_native",
        "tool-call-parser": "qwen",
        "reasoning-parser": "qwen3",
        "mem-fraction-static": 0.2,
        "max-total-tokens": 65536,
        "context-length": CONTEXT,
        "cuda-graph-backend-decode": "disabled",
        "cuda-graph-backend-prefill": "disabled",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    flags = [
        "--disable-overlap-schedule",
        "--skip-server-warmup",
        "--enable-metrics",
        "--enable-cache-report",
    ]
    return [str(python), "-m", "sglang.launch_server", *words, *flags]


def _transformers(python: Path, port: int) -> list[str]:
    # a request names the model by the path that is served: from that folder it is the parrot's name
    place = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "bfloat16"]
    return [str(python.with_name("transformers")), "serve", MODEL, *place]


ENGINES = {
    "scripted": Engine(param="scripted"),
    "embedded": Engine(param="embedded"),
    "scripted-in-ray": Engine(param="ray-scripted"),
    "embedded-in-ray": Engine(param="ray-embedded"),
    "llamacpp": Engine(param="llamacpp"),
    "vllm": Engine(environment="vllm", command=_vllm, variables=_VLLM),
    "vllm-in-process": Engine(
        environment="vllm", param="vllm-in-process", in_process="vllm", variables=_VLLM
    ),
    "sglang": Engine(environment="sglang", command=_sglang, variables=_SGLANG),
    "transformers": Engine(environment="transformers", command=_transformers, plain=True),
}


def main(names: list[str]) -> int:
    """Runs the suite over the named engines, or over all."""
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        print(f"there is no {', '.join(unknown)}; there is {', '.join(ENGINES)}", file=sys.stderr)
        return 2
    (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    (CACHE / "hub").mkdir(exist_ok=True)
    link = CACHE / MODEL
    if not link.is_symlink():
        link.symlink_to(PARROT / "hf")
    outcomes = [_tried(name, ENGINES[name]) for name in names or ENGINES]
    _show(outcomes)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _tried(name: str, engine: Engine) -> Outcome:
    print(f"== {name}", flush=True)
    began = time.monotonic()
    outcome = Outcome(engine=name)
    try:
        python = python_of(engine.environment) if engine.environment else Path(sys.executable)
        with _served(name, engine, python) as address:
            _run(name, engine, python, address, outcome)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        outcome.trouble = str(error)
    outcome.seconds = time.monotonic() - began
    return outcome


@contextmanager
def _served(name: str, engine: Engine, python: Path) -> Iterator[str]:
    """The address of a server that is up; "" where the suite starts the engine itself."""
    if engine.command is None:
        yield ""
        return
    port = _free_port()
    log = CACHE / "logs" / f"{name}-server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            engine.command(python, port),
            cwd=CACHE,
            env={**os.environ, **_QUIET, **engine.variables},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(process, f"{address}/health", log)
            yield address
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and its children, which one that is killed may leave behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - an address of our own making
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the server was not up within {START_SECONDS} s; see {log}")


def _run(name: str, engine: Engine, python: Path, address: str, outcome: Outcome) -> None:
    asked = {
        "CONTRACT_ONLY": engine.param or address,
        "CONTRACT_ENGINES": "" if engine.plain else address,
        "CONTRACT_PLAIN_ENGINES": address if engine.plain else "",
        "CONTRACT_IN_PROCESS": engine.in_process,
    }
    runner = str(python) if engine.in_process else sys.executable
    command = [runner, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=300", *SUITE]
    if engine.in_process:
        # other people's code warns of much that is none of ours
        command += ["-W", "default"]
    log = CACHE / "logs" / f"{name}.log"
    variables = {**os.environ, **_QUIET, **engine.variables, **asked}
    with log.open("wb") as file:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    said = log.read_text(encoding="utf-8", errors="replace")
    counts = [found for line in said.splitlines() if " in " in line for found in _COUNT.findall(line)]
    outcome.counts = {what: int(number) for number, what in counts[-4:]}
    if done.returncode != 0:
        # where this runs the log may be gone before anybody can read it
        print(_failures(said), flush=True)
        outcome.trouble = f"pytest ended with {done.returncode}; see {log}"


def _failures(said: str) -> str:
    """What pytest tells of the tests that failed, else its last words."""
    _, mark, told = said.partition(" FAILURES ")
    lines = (mark + told if mark else said).splitlines()
    return "\n".join(lines[:_FAILURE_LINES] + lines[_FAILURE_LINES:][-20:])


def _show(outcomes: list[Outcome]) -> None:
    columns = ("passed", "failed", "skipped")
    print(f"\n{'engine':<18}" + "".join(f"{name:>9}" for name in (*columns, "seconds")))
    for one in outcomes:
        counts = "".join(f"{one.counts.get(name, 0):>9}" for name in columns)
        print(f"{one.engine:<18}{counts}{one.seconds:>9.0f}  {'ok' if one.is_good else one.trouble}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
