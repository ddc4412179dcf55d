"""Claude Code, run as a user would run it: `claude -p` in an empty home, against a server on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import claude_agent_sdk
import msgspec

# Keeps every request of the program on the server under test, and its waits short.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "IS_SANDBOX": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",
    # The prompt alone has some twenty thousand tokens: in a small context the program compacts at once.
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "200000",
}


def claude_binary() -> Path:
    """The program inside the `claude-agent-sdk` wheel."""
    binary = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    if not binary.is_file():
        raise RuntimeError(
            f"no Claude Code at {binary}: the claude-agent-sdk wheel of this platform has none"
        )
    return binary


class ClaudeRun(msgspec.Struct, frozen=True):
    """What one run printed: the exit status, the final result object, and every line of its stream."""

    returncode: int
    events: list[dict[str, Any]]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The last line: `result`, `is_error`, `num_turns`, `usage`, `session_id`."""
        return next(event for event in reversed(self.events) if event["type"] == "result")

    @property
    def text(self) -> str:
        """The answer as a user would see it."""
        return str(self.result["result"])


class Claude:
    """Claude Code with a home and a working folder of its own under `folder`, pointed at `base_url`."""

    def __init__(self, base_url: str, folder: Path, *, model: str = "scripted") -> None:
        self.base_url = base_url
        self.model = model
        self.home = folder / "home"
        self.cwd = folder / "project"
        self.home.mkdir()
        self.cwd.mkdir()

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Only what the program needs: nothing of the caller's own environment."""
        return {
            "HOME": str(self.home),
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": self.base_url,
            "ANTHROPIC_API_KEY": "test-key",
            "ANTHROPIC_MODEL": self.model,
            **QUIET,
            **(extra or {}),
        }

    def start(
        self,
        prompt: str,
        *,
        tools: Sequence[str] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """`claude -p` under way, with more `options`, its events on stdout as JSON lines."""
        arguments = ["-p", prompt, "--output-format", "stream-json", "--verbose", *options]
        if tools:
            arguments += ["--allowedTools", *tools]
        return subprocess.Popen(
            [claude_binary(), *arguments],
            cwd=self.cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self,
        prompt: str,
        *,
        tools: Sequence[str] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> ClaudeRun:
        """`claude -p` to its end; one that hangs is ended and raises `subprocess.TimeoutExpired`."""
        with self.start(prompt, tools=tools, options=options, env=env) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        events = [msgspec.json.decode(line) for line in out.splitlines() if line.startswith(b"{")]
        return ClaudeRun(process.returncode, events, err.decode(errors="replace"))
