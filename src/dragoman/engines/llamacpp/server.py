"""llama.cpp's own HTTP server, started inside this process."""

from __future__ import annotations

import importlib
import os
from typing import Any

from dragoman.engines.llamacpp.params import ServerParams
from dragoman.errors import EngineUnavailableError

INSTALL = "pip install 'dragoman[local]'"
# llama.cpp's levels: 1 is errors, 3 also every request.
ERRORS_ONLY = 1


def load_library() -> Any:
    """The module `xllamacpp`; `EngineUnavailableError` says what to install."""
    # Read when the OpenMP library loads. Its threads would spin while they wait, and starve what shares
    # the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return importlib.import_module("xllamacpp")
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(f"the embedded engine is not installed: {INSTALL}") from error
    except ImportError as error:
        raise EngineUnavailableError(_missing_library(str(error))) from error


def _missing_library(text: str) -> str:
    if "libgomp" in text:
        return (
            "llama.cpp needs the system library libgomp.so.1, which is not here: apt-get install -y libgomp1 "
            "(Debian, Ubuntu), dnf install libgomp (Fedora), or use another engine with --engine URL"
        )
    return f"the embedded engine cannot be loaded: {text}"


def has_gpu() -> bool:
    """Whether this build of llama.cpp found anything faster than the processor."""
    library = load_library()
    kinds = library.ggml_backend_dev_type
    slow = {kinds.GGML_BACKEND_DEVICE_TYPE_CPU, kinds.GGML_BACKEND_DEVICE_TYPE_ACCEL}
    return any(device["type"] not in slow for device in library.get_device_info())


class LlamaServer:
    """A running server with a model loaded, on a loopback port of its own that only `key` opens."""

    def __init__(self, server: Any, params: ServerParams) -> None:
        self._server: Any | None = server
        self.params = params
        self.address: str = server.listening_address

    @classmethod
    def start(cls, params: ServerParams) -> LlamaServer:
        """Loads the model and serves it. Takes seconds; call it in a thread."""
        library = load_library()
        given = library.CommonParams()
        given.model.path = str(params.model)
        given.model_alias = {params.name}
        given.port = 0
        given.api_keys = [params.key]
        given.n_ctx = params.shared_context
        given.n_parallel = params.parallel
        given.n_batch = given.n_ubatch = params.batch
        given.cache_ram_mib = params.prompt_cache
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = params.threads
        if params.mmproj is not None:
            given.mmproj.path = str(params.mmproj)
        given.use_jinja = True
        given.ui = False
        given.endpoint_props = False
        given.endpoint_metrics = True
        given.verbosity = ERRORS_ONLY
        try:
            server = library.Server(given)
            # Answered by llama.cpp's main loop, so that runs now: a server that is ended before its loop
            # began waits for it for ever.
            server.handle_metrics()
            return cls(server, params)
        except RuntimeError as error:
            raise EngineUnavailableError(
                f"llama.cpp cannot load {params.model}: {error}", log_detail=str(error)
            ) from error

    def stop(self) -> None:
        """Ends the server and frees the model; it waits for the step that runs. Safe to call twice."""
        # llama.cpp's server ends with its object.
        self._server = None
