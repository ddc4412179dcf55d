"""A Ray of the tests' own: two logical processors, loopback, no dashboard; begun once in a process."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dragoman.engines.ray.cluster import load_ray

# Ray keeps a copy of what passes through it; the tests pass little.
STORE = 100 * 1024 * 1024


@contextmanager
def ray_here() -> Iterator[Any]:
    """Ray, with this process in it; it goes on until the process ends, since its beginning takes seconds."""
    ray = load_ray()
    if not ray.is_initialized():
        # Ray's log of metrics and its agents would take more of a small machine than the tests
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=STORE,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            namespace="dragoman",
            _node_ip_address="127.0.0.1",
        )
        atexit.register(ray.shutdown)
    yield ray
