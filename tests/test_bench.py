"""The benchmark runs: small here, so that its figures mean nothing but its parts are in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_benchmark_writes_its_figures(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    options = ["--streams", "4", "--total", "128", "--runs", "1", "--output", str(output)]
    run = subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, check=True, capture_output=True, timeout=100
    )
    found = msgspec.json.decode(output.read_bytes())
    assert set(found["cpu_us_per_token"]) == {"dragoman", "relay"}
    assert [run["load"]["broken"] for run in found["runs"]] == [0, 0]
    assert b"dragoman / relay:" in run.stdout
