"""The way into Ray: its package, and a cluster to be in."""

from __future__ import annotations

import importlib
import logging
import os
import threading
from typing import Any

from dragoman.errors import EngineUnavailableError
from dragoman.settings import Ray

INSTALL = "pip install 'dragoman[ray]'"
_JOINING = threading.Lock()


def load_ray(module: str = "ray") -> Any:
    """A module of Ray; `EngineUnavailableError` says what to install."""
    # Ray reads it when it is imported; who wants to be counted sets it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(f"Ray is not installed: {INSTALL}") from error


def join(settings: Ray) -> Any:
    """Ray, with this process in a cluster: one that it is in already, the one asked for, or one of its own.

    Takes seconds; call it in a thread.
    """
    ray = load_ray()
    with _JOINING:
        if ray.is_initialized():
            return ray
        given: dict[str, Any] = {"namespace": settings.namespace, "log_to_driver": False}
        if settings.address or os.environ.get("RAY_ADDRESS"):
            given["address"] = settings.address or None
        else:
            # without an address Ray would join whatever it finds running on this machine
            given |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(logging_level=logging.WARNING, configure_logging=False, **given)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = settings.address or os.environ.get("RAY_ADDRESS") or "this machine"
            raise EngineUnavailableError(f"Ray cannot be used on {where}: {error}") from error
    return ray
