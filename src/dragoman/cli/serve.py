"""`dragoman serve`: the server, over the embedded engine or over others."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import msgspec
from rich.console import Console

from dragoman.cli import banner
from dragoman.cli.sources import settings_file
from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.errors import SettingsError
from dragoman.models.memory import available_memory, recommended
from dragoman.models.progress import ConsoleReport
from dragoman.observe.logs import configure
from dragoman.routing.client import build_client
from dragoman.server.run import address_of, bind, check_engines, new_loop, serve
from dragoman.server.workers import Supervisor
from dragoman.service import check_server_tools, signature_keys
from dragoman.settings import Dialect, Settings, load_settings
from dragoman.wire.openai import ModelCard

_DESCRIPTION = """\
Serves the Anthropic Messages API. Without --engine, a small model runs inside this process;
it is fetched once."""

_EPILOG = """\
examples:
  dragoman serve                                    the embedded engine with its default model
  dragoman serve --model ./some-model.gguf          the embedded engine with a file
  dragoman serve --engine http://127.0.0.1:8000     vLLM, SGLang, llama.cpp, Ollama, or any other
  dragoman serve --engine http://a --engine http://b    several engines
  dragoman serve --ray                              replicas and engines in a Ray cluster

Everything else is set in dragoman.toml or in the environment, as DRAGOMAN_ and the setting's name:
API keys, timeouts, limits, aliases of models. Flags win over the environment, that over the file.
A dragoman.toml in the folder where the command starts is found by itself."""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's line."""
    command = commands.add_parser(
        "serve",
        help="serve the Messages API",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--engine", action="append", metavar="URL", help="an engine's address; repeat it for several")
    add("--dialect", choices=get_args(Dialect), help="what the engines are (auto: they are asked)")
    add("--model", help="embedded: a name of the catalogue or a .gguf file; with --engine: the default model")
    add("--cache-dir", metavar="FOLDER", help="embedded: where models are kept (the user's cache)")
    add("--config", type=Path, metavar="FILE", help="settings as TOML")
    add("--host", help="address to listen on (127.0.0.1; another one needs API keys)")
    add("--port", type=int, help="port to listen on (8484; 0: any free one)")
    add("--workers", type=int, help="server processes (1)")
    add("--ledger", metavar="FOLDER", help="record every call there, token by token")
    add("--ray", action="store_true", help="serve with Ray Serve: replicas, and engines in actors")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until a signal comes."""
    console = Console(file=sys.stdout, highlight=False)
    settings = gathered(arguments)
    configure(settings.log_level, settings.log_format)
    # what is wrong with them is said before a model is loaded
    signature_keys(settings)
    check_server_tools(settings)
    if arguments.ray:
        return _serve_with_ray(settings, console)
    with bind(settings) as sock:
        check_engines(settings, sock)
        address = address_of(sock)
        # asked before a model takes its share of the memory
        hint = larger_model(settings)

        def ready(models: list[ModelCard], troubles: list[str]) -> None:
            banner.show(
                console,
                address,
                models,
                troubles,
                has_keys=bool(settings.api_keys),
                embedded=not settings.engines,
                hint=hint,
            )
            sys.stdout.flush()

        with asyncio.Runner(loop_factory=new_loop) as runner, _ending_early():
            runner.run(_serve_all(settings, sock, ready))
    return 0


def _serve_with_ray(settings: Settings, console: Console) -> int:
    """Serves with Ray Serve until a signal comes."""
    if settings.workers > 1:
        raise SettingsError("workers: with --ray there are replicas instead; see ray.min_replicas")
    # bound once, so that a port in use is told in our words, and a free one is found
    with bind(settings) as sock:
        check_engines(settings, sock)
        address, port = address_of(sock), sock.getsockname()[1]
    # imported late: it is an extra
    module = importlib.import_module("dragoman.ray")
    served = module.Served(msgspec.structs.replace(settings, port=port))
    over = threading.Event()
    try:
        served.begin()
        # Ray has handlers of its own by now
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: over.set())
        console.print(f"dragoman serves on [bold]{address}[/bold] with Ray Serve")
        sys.stdout.flush()
        over.wait()
    finally:
        served.end()
    return 0


def larger_model(settings: Settings) -> str:
    """The line about a better model that this machine has room for; "" where one was chosen or none is."""
    if settings.engines or settings.model:
        return ""
    better = recommended(available_memory())
    if better is None:
        return ""
    return (
        f"this machine has memory for {better.name} ({better.size / 1e9:.1f} GB): "
        f"dragoman serve --model {better.name}"
    )


@contextmanager
def _ending_early() -> Iterator[None]:
    """Lets SIGTERM end a start that still loads as Ctrl-C does; a container's first process would ignore it.

    Both cancel the start, which then closes what it opened. A thread that loads a model goes on: nothing ends
    it but the end of the process, so that follows at once.
    """
    came = [signal.SIGINT]

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        signal.raise_signal(signal.SIGINT)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # so a script's shell starts what it leaves in the background, and so SIGTERM would do nothing
        signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(128 + came[-1])
    finally:
        signal.signal(signal.SIGTERM, kept)


async def _serve_all(
    settings: Settings, sock: socket.socket, ready: Callable[[list[ModelCard], list[str]], None]
) -> None:
    report = ConsoleReport()
    if not settings.engines:
        report.note("starting the embedded engine")
    if settings.workers == 1:
        client = build_client(settings, report)
        await serve(settings, sock, lambda server, models: ready(models, server.troubles), client=client)
    elif settings.engines:
        await Supervisor(settings, sock, ready).run()
    else:
        # the model is loaded once, here; the workers reach it over its loopback port
        engine = LlamaCppInferenceEngine(
            settings.model,
            local=settings.local,
            timeouts=settings.timeouts,
            limits=settings.limits,
            report=report,
        )
        try:
            await engine.start()
            shared = msgspec.structs.replace(settings, engines=(engine.entry,))
            await Supervisor(shared, sock, ready).run()
        finally:
            await engine.aclose()


def gathered(arguments: argparse.Namespace) -> Settings:
    """The settings from file, environment and flags."""
    file = settings_file(arguments.config)
    names = ("host", "port", "workers")
    flags: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    flags = {name: value for name, value in flags.items() if value is not None}
    if arguments.engine:
        dialect = {} if arguments.dialect is None else {"dialect": arguments.dialect}
        flags["engines"] = [{"url": url, **dialect} for url in arguments.engine]
    elif arguments.dialect is not None:
        raise SettingsError("--dialect says what --engine is, and there is no --engine")
    if arguments.cache_dir is not None:
        flags["local"] = {"cache_dir": arguments.cache_dir}
    if arguments.ledger is not None:
        flags["ledger"] = {"path": arguments.ledger}
    settings = load_settings(file, flags=flags)
    if arguments.model is None:
        return settings
    flags["default_model" if settings.engines else "model"] = arguments.model
    return load_settings(file, flags=flags)
