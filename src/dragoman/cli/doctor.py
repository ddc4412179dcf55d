"""`dragoman doctor`: asks an engine what it can do, and prints a table."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
from rich.console import Console

from dragoman.cli import diagnosis
from dragoman.cli.pipes import print_out, write_out
from dragoman.cli.serve import gathered
from dragoman.cli.terminal import drawn, harmless_line
from dragoman.engines.doctor import Report, examine
from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.engines.registry import build_engine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.transport import engine_root
from dragoman.errors import DragomanError, SettingsError
from dragoman.models.progress import ConsoleReport
from dragoman.settings import Dialect, EngineEntry, Settings

_DESCRIPTION = """\
Asks an engine what it can do, by trying: real requests, and a look at the answers. Prints a table,
what is missing, and the engine's own setting that would bring it. Nothing is served.

Without URL: the engines of the settings; without any, the embedded engine, in this process."""

_EPILOG = """\
examples:
  dragoman doctor                                the embedded engine with its default model
  dragoman doctor --model ./some-model.gguf      the embedded engine with a file
  dragoman doctor http://127.0.0.1:8000          vLLM, SGLang, llama.cpp, Ollama, or any other
  dragoman doctor https://host/v1 --key-env KEY --model some/model

exit status: 0 the engine works for clients of the Messages API; 1 something essential is missing:
an answer, a stream, or either of them through Dragoman; 2 it cannot be reached, or something is not
set up."""

_SECONDS = 60.0
_EMBEDDED = "the embedded engine"


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    command = commands.add_parser(
        "doctor",
        help="ask an engine what it can do, by trying",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("url", nargs="?", metavar="URL", help="the engine's address")
    add("--dialect", choices=get_args(Dialect), help="what the engine is (auto: it is asked)")
    add("--model", help="embedded: a name of the catalogue or a .gguf file; with URL: the model to examine")
    add("--key", help="the engine's key; others on this machine may see it in the list of processes")
    add("--key-env", metavar="NAME", help="the environment variable that holds the key")
    add("--config", type=Path, metavar="FILE", help="settings as TOML")
    add("--cache-dir", metavar="FOLDER", help="embedded: where models are kept")
    add("--timeout", type=_seconds, default=_SECONDS, metavar="S", help="the longest wait for an answer (60)")
    add("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(run=run)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError
    return value


def run(arguments: argparse.Namespace) -> int:
    """Examines what the arguments and settings name; one engine that fails does not end the others."""
    settings = gathered(_for_settings(arguments))
    entries = _entries(arguments, settings)
    reports, failures = asyncio.run(_examined(arguments, settings, entries))
    if arguments.json and reports:
        shown: Any = reports[0] if len(entries) < 2 else reports
        unwritten = write_out(msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n")
    else:
        unwritten = print_out(drawn(lambda console: _tables(console, reports)))
    for failure in failures:
        print(f"dragoman: {harmless_line(failure)}", file=sys.stderr)
    if failures:
        return 2
    return unwritten or (0 if all(report.works for report in reports) else 1)


def _tables(console: Console, reports: list[Report]) -> None:
    for number, report in enumerate(reports):
        console.print("\n" * (number > 0), end="")
        diagnosis.show(console, report)


def _for_settings(arguments: argparse.Namespace) -> argparse.Namespace:
    """What `serve` would read its settings from; a URL is looked up in them, so it is no part of them."""
    unsaid = dict.fromkeys(("engine", "dialect", "model", "host", "port", "workers", "ledger"))
    return argparse.Namespace(config=arguments.config, cache_dir=arguments.cache_dir, **unsaid)


def _entries(arguments: argparse.Namespace, settings: Settings) -> list[EngineEntry]:
    """The servers to examine; none means the embedded engine."""
    if arguments.url is None:
        for name in ("dialect", "key", "key_env"):
            if getattr(arguments, name) is not None:
                option = name.replace("_", "-")
                raise SettingsError(f"--{option} is about the engine at URL, and there is no URL")
        return list(settings.engines)
    root = engine_root(arguments.url)
    known = [entry for entry in settings.engines if entry.url and engine_root(entry.url) == root]
    entry = known[0] if known else EngineEntry(url=arguments.url)
    if arguments.dialect is not None:
        entry = msgspec.structs.replace(entry, dialect=arguments.dialect)
    if arguments.key is not None or arguments.key_env is not None:
        entry = msgspec.structs.replace(entry, key=arguments.key or "", key_env=arguments.key_env or "")
    return [entry]


async def _examined(
    arguments: argparse.Namespace, settings: Settings, entries: list[EngineEntry]
) -> tuple[list[Report], list[str]]:
    """The reports, and why there are none of the other engines."""
    seconds = arguments.timeout
    timeouts = msgspec.structs.replace(settings.timeouts, first_byte=seconds, between_bytes=seconds)
    if not entries:
        embedded = LlamaCppInferenceEngine(
            arguments.model or settings.model,
            local=settings.local,
            timeouts=timeouts,
            limits=settings.limits,
            report=ConsoleReport(),
        )
        report = await _one(embedded, "", _EMBEDDED, seconds)
        return [msgspec.structs.replace(report, engine=_EMBEDDED)], []
    reports: list[Report] = []
    failures: list[str] = []
    for entry in entries:
        if entry.ray is not None and not entry.url:
            failures.append(
                f"{entry.name} has no address: it runs in a Ray actor, where only a server asks it"
            )
            continue
        try:
            engine = _engine(entry, msgspec.structs.replace(settings, timeouts=timeouts))
            _check_key(entry, engine.secret)
            reports.append(await _one(engine, arguments.model or "", entry.url or entry.model, seconds))
        except SettingsError as error:
            failures.append(error.message)
    return reports, failures


def _engine(entry: EngineEntry, settings: Settings) -> RemoteInferenceEngine:
    """The engine of an entry as it is: help that it would get here must hide nothing."""
    if entry.kind != "remote":
        # these are remote engines without a network
        return cast("RemoteInferenceEngine", build_engine(entry, settings))
    return RemoteInferenceEngine(entry, settings.timeouts, settings.limits)


def _check_key(entry: EngineEntry, key: str) -> None:
    """`SettingsError` for a key with which no request could be written."""
    if not key.isprintable():
        source = f"the environment variable {entry.key_env}" if not entry.key else "`key`"
        raise SettingsError(f"{entry.url}: {source} holds what no header can, as a line break")


async def _one(engine: RemoteInferenceEngine, model: str, shown: str, seconds: float) -> Report:
    """One engine's report, and the engine closed; errors name it."""
    try:
        await engine.start()
        with _progress(shown) as told:
            return await examine(engine, model, seconds=seconds, told=told)
    except DragomanError as error:
        raise SettingsError(f"{shown}: {error.message}{_detail(error)}") from error
    finally:
        await engine.aclose()


def _detail(error: DragomanError) -> str:
    return f" ({error.log_detail})" if error.log_detail else ""


@contextmanager
def _progress(shown: str) -> Iterator[Callable[[str], None]]:
    """Tells a person at a terminal what is asked now; says nothing elsewhere."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        yield lambda _title: None
        return
    with console.status(f"asking {shown}") as status:
        yield lambda title: status.update(f"asking {shown}: {title}")
