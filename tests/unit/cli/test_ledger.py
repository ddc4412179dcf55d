"""`dragoman ledger`: what was recorded, for people and for programs."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest

from dragoman.cli.main import main
from dragoman.ledger.export.rows import read_jsonl, read_parquet
from dragoman.ledger.interface import at_hand
from dragoman.ledger.store import SQLiteLedger
from dragoman.ledger.values import Drift
from tests.unit.ledger.turns import message, sample, turn

DRIFT = Drift(at=3, before="a", after="b", cause="cut thinking", used="recorded")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def write() -> None:
        store = SQLiteLedger(tmp_path)
        first = turn("t1", delivered=True, prompt_tokens=2)
        said = sample([1, 2, 3, 4, 5], [6], base="t1", carried=4, drift=DRIFT)
        path = (*first.path, first.answer, message("c").digest)
        cut = turn("t2", state="cut", samples=(said,), began=2.0, path=path, answer="")
        for each in (first, cut, turn("t\x1b[31m", session="other", scope="")):
            await store.put(each, at_hand([message("a"), message("b"), message("c")]))
        await store.aclose()

    asyncio.run(write())
    return tmp_path


def test_sessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "ls", str(folder)]) == 0
    head, other, first = capsys.readouterr().out.splitlines()
    assert head.split() == ["session", "scope", "turns", "tokens", "changed", "state"]
    assert (other.split()[0], first.split()[:4]) == ("other", ["s", "k", "2", "3"])
    assert main(["ledger", "ls", str(folder), "--json", "--limit", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert msgspec.json.decode(line)["session"]["id"] == "other"


def test_turns(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["ledger", "show", str(folder), "s", "--scope", "k"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["t1", "done", "2", "0", "2", "yes"]
    assert "cut thinking at 3" in second
    assert second.split()[:6] == ["t2", "cut", "0", "4", "1", "t1"]
    assert "no: its state is cut" in second
    assert main(["ledger", "show", str(folder), "s", "--scope", "k", "--json"]) == 0
    lines = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["samples"][0]["sampled_ids"] for line in lines] == [[3, 4], [6]]
    # what a client called its turn does not move the cursor
    assert main(["ledger", "show", str(folder), "other"]) == 0
    assert "\x1b[31m" not in capsys.readouterr().out


def test_rows_for_a_trainer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.jsonl"
    for name, read in (("rows.jsonl", read_jsonl), ("rows.parquet", read_parquet)):
        out = tmp_path / name
        assert main(["ledger", "export", str(folder), "--scope", "k", "--output", str(out)]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"1 rows of 1 sessions are in {out}"
        (row,) = read(out)
        assert row.token_ids == [1, 2, 3, 4, 5, 6]
        # the second turn was cut
        assert row.mask == [0, 0, 1, 1, 0, 0]
    command = ["ledger", "export", str(folder), "s", "--scope", "k", "--output", str(out), "--json"]
    assert main(command) == 0
    assert msgspec.json.decode(capsys.readouterr().out) == {"sessions": 1, "rows": 1, "left_out": {}}


def test_what_is_broken_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", str(folder)]) == 0
    assert capsys.readouterr().out == "all of it can be read\n"
    with sqlite3.connect(folder / "ledger.sqlite3") as db:
        db.execute("UPDATE turns SET mark = x'00' WHERE id = 't2'")
    db.close()
    assert main(["ledger", "verify", str(folder)]) == 1
    assert capsys.readouterr().out == "session s: turn t2: its record is broken\n"
    assert main(["ledger", "verify", str(folder), "--json"]) == 1
    assert main(["ledger", "ls", str(folder)]) == 0
    assert "incomplete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "absent"], "there is no ledger in absent"),
        (["ls"], "no folder is named"),
        (["show", "HERE", "nobody"], "there is no session 'nobody'"),
        (["export", "HERE", "--output", "rows.txt"], "--output must end in .jsonl or .parquet"),
        (["export", "HERE", "nobody", "--output", "rows.jsonl"], "there is no session 'nobody'"),
    ],
)
def test_mistakes_are_a_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    assert main(["ledger", *(str(folder) if each == "HERE" else each for each in arguments)]) == 2
    assert words in capsys.readouterr().err
