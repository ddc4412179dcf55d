"""What `dragoman doctor` prints of three servers: one that can do everything, one nothing, one that ignores.

`make golden` writes the files anew: read the difference before you commit it.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from dragoman.cli import diagnosis
from dragoman.engines.doctor import examine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import EngineEntry
from tests.golden.test_answer_golden import compare
from tests.support.fake_able import IGNORING, NOTHING, Able, able

HERE = Path(__file__).parent / "doctor"
CASES = {"everything": Able(), "nothing": NOTHING, "ignoring": IGNORING}


async def printed(can: Able) -> str:
    """The report on a server with these abilities, on a terminal of 80 columns."""
    async with able(can) as fake:
        engine = RemoteInferenceEngine(EngineEntry(url=fake.url, name="engine.test"))
        try:
            report = await examine(engine, seconds=30)
        finally:
            await engine.aclose()
    console = Console(file=io.StringIO(), width=80, highlight=False)
    diagnosis.show(console, report)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


@pytest.mark.parametrize("name", CASES)
async def test_report(name: str, update_golden: bool) -> None:
    HERE.mkdir(exist_ok=True)
    text = await printed(CASES[name])
    compare(text, HERE / f"{name}.txt", update_golden)
    assert max(map(len, text.splitlines())) <= 80
