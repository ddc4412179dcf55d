"""Serves a GGUF file with llama.cpp's own server on a free loopback port.

`serve_parrot.py FILE CONTEXT [MMPROJ]` prints the address when it is ready, and serves until it is killed.
"""

import sys
import threading

import xllamacpp  # type: ignore[import-untyped]  # the wheel holds no types

SLOTS = 2


def main() -> None:
    """Starts the server and waits for ever."""
    file, context, *mmproj = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.mmproj.path = "".join(mmproj)
    params.model_alias = {"parrot"}
    params.port = 0
    params.n_ctx = int(context) * SLOTS
    params.n_parallel = SLOTS
    params.use_jinja = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
