"""The metrics of a server, with prometheus-client; labels never hold what a client made up."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

# The folder that worker processes share; prometheus-client reads the same name when it is imported.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

M = TypeVar("M", Counter, Histogram)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counts what happens, one object per server.

    `model` labels are names of served models ("" before one is found), `route` labels are path patterns. With
    several workers, `render` adds up what all of them counted.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._children: dict[tuple[object, ...], Any] = {}
        counter = partial(Counter, registry=registry)
        self._requests = counter("dragoman_requests", "Requests answered", ["route", "status", "model"])
        self._seconds = Histogram(
            "dragoman_request_seconds",
            "Time from a request's head to the end of its answer",
            ["route", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "dragoman_first_token_seconds",
            "Time from the request to the engine to the first content of a stream",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._running = Gauge(
            "dragoman_requests_running",
            "Requests that are being answered",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._tokens = counter("dragoman_tokens", "Tokens by kind: input, cached, output", ["model", "kind"])
        self._engine_errors = counter("dragoman_engine_errors", "Failures of engines", ["engine", "cause"])
        self._count_routing(registry)
        self._violations = counter(
            "dragoman_grammar_violations", "Streams that would have broken the order of events"
        )
        self._thinking = counter(
            "dragoman_thinking_dropped", "Thinking blocks of requests that could not go to the model"
        )
        self._lost = counter("dragoman_clients_lost", "Clients that left or stalled", ["how"])

    def _count_routing(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._retries = counter(
            "dragoman_engine_retries",
            "Calls that were tried again, by the engine that failed",
            ["engine", "cause"],
        )
        self._continued = counter(
            "dragoman_streams_continued",
            "Answers that an engine left in the middle: how they went on (tokens, text, anew), or that they "
            "could not (no)",
            ["engine", "how"],
        )
        self._breakers = counter("dragoman_breakers_opened", "Engines that kept failing", ["engine"])
        self._waiting = Gauge(
            "dragoman_requests_waiting",
            "Calls that wait for an engine that has room",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._turned_away = counter(
            "dragoman_requests_turned_away", "Calls that found the queue full, or waited too long in it"
        )

    def _of(self, metric: M, *labels: str) -> M:
        """A metric's child for these labels, which are few: the library's own search costs more."""
        key = (id(metric), *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        found: M = child
        return found

    def started(self) -> None:
        """A request came in."""
        self._running.inc()

    def finished(self, route: str, status: int, model: str, seconds: float) -> None:
        """A request was answered; status 499 stands for a client that left before its answer began."""
        self._running.dec()
        self._of(self._requests, route, str(status), model).inc()
        self._of(self._seconds, route, model).observe(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        """The first content of a stream came."""
        self._of(self._first_token, model).observe(seconds)

    def tokens(self, model: str, *, read: int, cached: int, written: int) -> None:
        """One answer's usage; `read` leaves the cached ones out."""
        self._of(self._tokens, model, "input").inc(read)
        self._of(self._tokens, model, "cached").inc(cached)
        self._of(self._tokens, model, "output").inc(written)

    def engine_failed(self, engine: str, cause: str) -> None:
        """An engine failed; `cause` is one of `routing.causes`, or an error type of the API."""
        self._engine_errors.labels(engine, cause).inc()

    def retried(self, engine: str, cause: str) -> None:
        """A call is tried again because an engine failed."""
        self._retries.labels(engine, cause).inc()

    def continued(self, engine: str, how: str) -> None:
        """An engine left an answer in the middle; `how` says how it goes on, "no" that it cannot."""
        self._continued.labels(engine, how).inc()

    def breaker_opened(self, engine: str) -> None:
        """An engine kept failing."""
        self._breakers.labels(engine).inc()

    def waiting(self, more: int) -> None:
        """So many more calls wait."""
        self._waiting.inc(more)

    def turned_away(self) -> None:
        """A call found no room in the queue, or none at an engine in time."""
        self._turned_away.inc()

    def grammar_violated(self) -> None:
        """A stream would have broken the order of events: a fault of this program."""
        self._violations.inc()

    def thinking_dropped(self, blocks: int) -> None:
        """Thinking blocks were left out of a prompt."""
        self._thinking.inc(blocks)

    def client_lost(self, how: str) -> None:
        """A client went away ("disconnected") or read nothing for too long ("stalled")."""
        self._lost.labels(how).inc()

    def render(self) -> bytes:
        """The text that a scraper reads."""
        if not os.environ.get(SHARED_FOLDER):
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # the library has no types here
        return generate_latest(merged)
