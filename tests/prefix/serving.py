"""llama.cpp's server within this process, with a model out of a file."""

from __future__ import annotations

from pathlib import Path

import httpx
import xllamacpp  # type: ignore[import-untyped]  # the wheel holds no types

from tests.support.dialogues import CONTEXT, MODEL

_ERRORS_ONLY = 1
_BATCH = 32
_JSON = {"content-type": "application/json"}


def started(model: Path, template: str = "") -> xllamacpp.Server:
    """A running server; it ends when nothing refers to it. template: in place of the model's own."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL}
    params.port = 0
    params.n_ctx = CONTEXT
    # A great vocabulary times a great batch would take much memory that nobody needs.
    params.n_batch = params.n_ubatch = _BATCH
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja = True
    params.warmup = params.ui = False
    params.chat_template = template
    params.verbosity = _ERRORS_ONLY
    server = xllamacpp.Server(params)
    # Answered by its main loop: a server that ends before its loop began waits for it for ever.
    server.handle_metrics()
    return server


def client() -> httpx.Client:
    """What asks it. Loopback needs no certificates, and reading them takes most of a start's time."""
    return httpx.Client(timeout=60, transport=httpx.HTTPTransport(verify=False), headers=_JSON)
