"""The whole server as a Ray Serve deployment: `dragoman serve --ray`, or `serve run dragoman.ray:app`."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from dragoman.engines.ray import end_shared, join, load_ray, shared_name
from dragoman.errors import EngineUnavailableError, SettingsError
from dragoman.observe.logs import configure
from dragoman.routing.client import build_client
from dragoman.server.app import DragomanApp, create_app
from dragoman.server.run import check_address
from dragoman.settings import EngineEntry, RayActor, Settings, load_settings

NAME = "dragoman"
_FILE = Path("dragoman.toml")
# Where the settings bound nothing, Ray wants a number all the same.
_UNBOUNDED = 100_000
# How long Serve's proxy may take to listen once the replicas are there, in seconds.
_LISTENING = 60.0
# The actor of which there is one where Serve runs.
_CONTROLLER = "SERVE_CONTROLLER_ACTOR"


def __getattr__(name: str) -> Any:
    """`app`, made when it is asked for: from dragoman.toml, where there is one here, and the environment."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return deployment(load_settings(_FILE if _FILE.is_file() else None))


def deployed(settings: Settings) -> Settings:
    """The settings of every replica: all of them use the same actors, and the embedded engine runs in one.

    `SettingsError` where an engine would be loaded by each replica anew.
    """
    for entry in settings.engines:
        if entry.kind != "remote" and entry.ray is None:
            raise SettingsError(
                f"engines: {entry.name or entry.model} would be loaded by each replica; give it a table `ray`"
            )
    entries = settings.engines or (EngineEntry(name="local", ray=RayActor(model=settings.model)),)
    return msgspec.structs.replace(settings, engines=tuple(map(_shared, entries)))


def _shared(entry: EngineEntry) -> EngineEntry:
    if entry.ray is None:
        return entry
    return msgspec.structs.replace(entry, ray=msgspec.structs.replace(entry.ray, shared=True))


def deployment(settings: Settings) -> Any:
    """The application for `serve.run`: replicas of the server, each with a client of all engines."""
    serve = load_ray("ray.serve")
    settings = deployed(settings)

    def replica() -> DragomanApp:
        configure(settings.log_level, settings.log_format)
        return create_app(build_client(settings), settings)

    of_ray = settings.ray
    options = {
        "name": NAME,
        "ray_actor_options": {"num_cpus": of_ray.replica_cpus},
        "autoscaling_config": {
            "min_replicas": of_ray.min_replicas,
            "max_replicas": of_ray.max_replicas,
            "target_ongoing_requests": of_ray.target_requests,
        },
        # what a replica has too much of it refuses itself, in the API's words
        "max_ongoing_requests": 2 * settings.limits.requests or _UNBOUNDED,
        "graceful_shutdown_timeout_s": settings.timeouts.shutdown,
    }
    return serve.deployment(**options)(serve.ingress(replica)()).bind()


def await_listener(host: str, port: int) -> None:
    """Returns when somebody listens there: Serve may say that it is ready before its proxy is."""
    until = time.monotonic() + _LISTENING
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError as error:
            if time.monotonic() > until:
                raise EngineUnavailableError(f"Ray Serve does not listen on {host}:{port}") from error
            time.sleep(0.1)
        else:
            return


class Served:
    """The server under Ray Serve, from this process: `begin` and `end`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._has_joined = self._has_begun = False
        self._found: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Returns when replicas answer at the settings' host and port. Raises `DragomanError`s.

        `SettingsError` where Serve runs in the cluster already: it has a host and a port of its own, and
        other applications.
        """
        check_address(self._settings)
        application = deployment(self._settings)
        ray, serve = load_ray(), load_ray("ray.serve")
        self._has_joined = not ray.is_initialized()
        join(self._settings.ray)
        there = ray.util.list_named_actors(all_namespaces=True)
        if any(actor["name"] == _CONTROLLER for actor in there):
            raise SettingsError(
                "Ray Serve runs in this cluster already, where its own settings say: deploy there with "
                "`serve run dragoman.ray:app`, or serve in a cluster without it"
            )
        own = self._settings.ray.namespace
        self._found = frozenset(actor["name"] for actor in there if actor["namespace"] == own)
        self._has_begun = True
        options = {"host": self._settings.host, "port": self._settings.port}
        serve.start(proxy_location="HeadOnly", http_options=options)
        serve.run(application, name=NAME, route_prefix="/")
        await_listener(self._settings.host, self._settings.port)

    def end(self) -> None:
        """Lets running answers end, and closes what was begun here: the replicas, shared engines, Serve, Ray.

        Engines that others had begun stay, and so does Serve where others have applications in it by now.
        """
        ray = load_ray()
        if ray.is_initialized() and self._has_begun:
            self._end_serving()
        if ray.is_initialized() and self._has_joined:
            ray.shutdown()
        self._has_joined = self._has_begun = False

    def _end_serving(self) -> None:
        serve = load_ray("ray.serve")
        with suppress(load_ray("ray.serve.exceptions").RayServeException):
            serve.delete(NAME)
        for entry in deployed(self._settings).engines:
            if entry.ray is not None and shared_name(entry.name) not in self._found:
                end_shared(entry.name, self._settings.ray.namespace)
        if not serve.status().applications:
            serve.shutdown()
