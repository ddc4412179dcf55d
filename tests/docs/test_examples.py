"""The programs under examples/, run as a reader runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SAID = {
    "mounted_app.py": ["Hello from inside."],
    "service_without_http.py": [
        "['thinking', 'text'] scripted",
        "event: message_start",
        '"text":"Four."',
        "event: message_stop",
    ],
    "translation_alone.py": [
        '"role": "system"',
        '"name": "weather"',
        '"type":"thinking_delta","thinking":"I look it up."',
        '"stop_reason":"tool_use"',
        "event: message_stop",
    ],
}


def test_every_example_is_run() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == SAID.keys()


@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert [said for said in SAID[name] if said not in run.stdout] == []
