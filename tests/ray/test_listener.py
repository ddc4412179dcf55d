"""Serving with Ray begins when somebody listens."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from dragoman import ray
from dragoman.errors import EngineUnavailableError


def test_a_late_listener_is_waited_for() -> None:
    with closing(socket.socket()) as late:
        late.bind(("127.0.0.1", 0))
        timer = threading.Timer(0.3, late.listen)
        timer.start()
        ray.await_listener(*late.getsockname())
        assert timer.finished.is_set()
        timer.join()


def test_one_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "_LISTENING", 0.2)
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        host, port = deaf.getsockname()
        with pytest.raises(EngineUnavailableError, match=f"does not listen on 127.0.0.1:{port}"):
            ray.await_listener(host, port)
