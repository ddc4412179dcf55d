"""One server process: sockets, signals, and the way from a first signal to the end."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
import uvloop

from dragoman.engines.transport import engine_root
from dragoman.errors import DragomanError, SettingsError
from dragoman.observe.logs import log
from dragoman.routing.client import InferenceEngineClient, build_client
from dragoman.server.app import DragomanApp, create_app
from dragoman.server.guard import is_loopback
from dragoman.server.protocol import with_timeouts
from dragoman.settings import Settings
from dragoman.wire.openai import ModelCard

# How long connections that were told to close may take, in seconds.
_CLOSING = 2
# Chunks of running answers are many and short-lived; looking at them every 700 costs a tenth of the time.
_GC_THRESHOLDS = (20_000, 20, 20)
# Of glibc's malloc.h; blocks from this size on, the largest that it allows, go back to the system when freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BLOCK = 32 * 1024 * 1024


def check_address(settings: Settings) -> None:
    """Refuses a door without keys that others could reach."""
    if settings.api_keys or is_loopback(settings.host):
        return
    raise SettingsError(
        f"settings: host {settings.host} can be reached from other machines, and there are no API keys; "
        "set api_keys (a name and a key each) in dragoman.toml or DRAGOMAN_API_KEYS, or keep host 127.0.0.1"
    )


def bind(settings: Settings) -> socket.socket:
    """A bound socket that does not listen yet, so that nobody waits for an engine that still loads."""
    check_address(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise _cannot_listen(settings, error) from error
    sock.set_inheritable(True)
    return sock


def check_engines(settings: Settings, sock: socket.socket) -> None:
    """Refuses an address that is none, and the server's own: each request would ask itself, without end."""
    host, port = sock.getsockname()[:2]
    for entry in (entry for entry in settings.engines if entry.url):
        url = urlsplit(engine_root(entry.url))
        its_port = url.port or (443 if url.scheme == "https" else 80)
        if its_port == port and _is_own(url.hostname or "", host, sock.family):
            raise SettingsError(
                f"settings: the engine {entry.url} is the address that this server listens on itself; "
                "an engine is another server, such as vLLM; without any the embedded one is used"
            )


def _is_own(name: str, bound: str, family: int) -> bool:
    """Whether a host's name leads to the address that is bound; where all are, to any of this machine."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM)}
    except OSError:
        # a name that nobody knows is the engine's trouble, which its health tells
        return False
    if not ipaddress.ip_address(bound).is_unspecified:
        return bound in found
    return any(_is_here(address, family) for address in found)


def _is_here(address: str, family: int) -> bool:
    """Whether an address is one of this machine: only those can be bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _cannot_listen(settings: Settings, error: OSError) -> SettingsError:
    why = "the port is in use" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return SettingsError(
        f"settings: cannot listen on {settings.host} port {settings.port}: {why}; --port chooses another one"
    )


def address_of(sock: socket.socket) -> str:
    """The URL at which a bound socket can be reached."""
    host, port = sock.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


OnReady = Callable[["Server", list[ModelCard]], None]
"""Called when requests are accepted, with the models that are served (none where no engine answers yet)."""


class Server(uvicorn.Server):
    """uvicorn with our way out.

    The first signal lets running answers end (new ones get 529, `/ready` fails), a second ends the process at
    once.
    """

    def __init__(
        self,
        app: DragomanApp,
        settings: Settings,
        on_ready: OnReady,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        *,
        resumes_batches: bool = True,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=with_timeouts(settings.timeouts.body),
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=int(settings.timeouts.keep_alive) or 1,
                timeout_graceful_shutdown=_CLOSING,
            )
        )
        self._app = app
        self._service = app.service
        self._traffic = app.traffic
        self._settings = settings
        self._on_ready = on_ready
        self._handled = signals
        self._resumes_batches = resumes_batches
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens; `SettingsError` where somebody else began to, since the socket was bound."""
        try:
            # here, because uvloop takes no notice when it cannot
            for sock in sockets or ():
                sock.listen(self.config.backlog)
        except OSError as error:
            raise _cannot_listen(self._settings, error) from error
        await super().startup(sockets)
        await self._service.start_ledger()
        if self._resumes_batches:
            self._app.batches.start()
        self._on_ready(self, await self._models())

    @property
    def troubles(self) -> list[str]:
        """What keeps engines from being used."""
        return self._service.client.troubles()

    async def _models(self) -> list[ModelCard]:
        try:
            return await self._service.models()
        except DragomanError as error:
            log(logging.WARNING, error.message, {"detail": error.log_detail})
            return []

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what runs while it still listens, then closes every connection."""
        seconds = self._settings.timeouts.shutdown
        # what is in flight there has no result yet, and runs again after the next start
        await self._app.batches.aclose()
        if running := len(self._traffic):
            answers, them = ("answer", "it") if running == 1 else ("answers", "them")
            wait = f"waiting for {running} running {answers}, at most {seconds:g} s"
            log(logging.INFO, f"{wait}; Ctrl-C again ends {them} at once", {})
        await self._traffic.drain(seconds)
        await super().shutdown(sockets)
        await self._app.aclose()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while the server runs; unlike uvicorn, it does not raise them again after."""
        kept = {number: signal.signal(number, self.handle_exit) for number in self._handled}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """One signal."""
        self._signals += 1
        self.should_exit = True
        if self._signals > 1:
            os._exit(128 + sig)


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop that servers run on."""
    return uvloop.new_event_loop()


async def serve(
    settings: Settings,
    sock: socket.socket,
    on_ready: OnReady,
    *,
    client: InferenceEngineClient | None = None,
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    resumes_batches: bool = True,
) -> None:
    """Serves on a bound socket until a signal comes; starts and closes the engines.

    `resumes_batches`: goes on with what lies in the state folder, whoever put it there.
    """
    client = client or build_client(settings)
    app: DragomanApp | None = None
    try:
        await client.start()
        app = create_app(client, settings)
        # What is there now stays, and requests leave no cycles: the garbage collector has little to find.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        _keep_memory()
        server = Server(app, settings, on_ready, signals, resumes_batches=resumes_batches)
        await server.serve([sock])
    finally:
        await (app.service if app is not None else client).aclose()


def _keep_memory() -> None:
    """Lets glibc keep what large requests free: asking the system for it again costs faults, page by page."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BLOCK)
