"""Rows in files: what is read is what was written, and a file is whole or not there."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from dragoman.ledger.export import rows
from dragoman.ledger.export.stitch import stitch
from dragoman.ledger.export.trajectory import SCHEMA_VERSION, ExportError, Trajectory
from tests.support.recorded import sample, session, turn

Write = Callable[[Path, Iterable[Trajectory]], int]
Read = Callable[[Path], Iterator[Trajectory]]
FORMS = pytest.mark.parametrize(
    ("write", "read"),
    [(rows.write_jsonl, rows.read_jsonl), (rows.write_parquet, rows.read_parquet)],
    ids=["jsonl", "parquet"],
)


def made(count: int = 2) -> list[Trajectory]:
    """Rows with something in every field: a break, a token without a number, metadata in all forms."""
    owner = session(task={"name": "sum", "hard": True}, repetition=2, seed=1.5, note=None, tags=["ä", 1])
    turns = [turn("t0", sample([1, 2], [3, 4], logprobs=[-0.25, None]), began=1.5)]
    turns += [turn(f"t{n}", sample([n, 2], [3]), began=n) for n in range(2, count + 1)]
    return stitch(owner, [turns]).rows


@FORMS
def test_what_is_read_is_what_was_written(write: Write, read: Read, tmp_path: Path) -> None:
    written = made(200)
    assert written[1].broke_at == 0
    assert write(tmp_path / "rows", iter(written)) == len(written) == 200
    assert list(read(tmp_path / "rows")) == written
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@FORMS
def test_no_rows_are_a_file(write: Write, read: Read, tmp_path: Path) -> None:
    assert write(tmp_path / "rows", []) == 0
    assert list(read(tmp_path / "rows")) == []


@FORMS
def test_a_file_that_fails_leaves_what_was_there(write: Write, read: Read, tmp_path: Path) -> None:
    def failing() -> Iterator[Trajectory]:
        yield from made()
        raise RuntimeError("lost")

    write(tmp_path / "rows", made())
    with pytest.raises(RuntimeError, match="lost"):
        write(tmp_path / "rows", failing())
    assert list(read(tmp_path / "rows")) == made()
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@FORMS
def test_rows_of_a_later_version_are_not_read(write: Write, read: Read, tmp_path: Path) -> None:
    later = [msgspec.structs.replace(row, schema_version=SCHEMA_VERSION + 1) for row in made()]
    write(tmp_path / "rows", later)
    with pytest.raises(ExportError, match="later Dragoman"):
        list(read(tmp_path / "rows"))


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(msgspec.json.encode(made()[0]) + b"\n{}\n")
    with pytest.raises(ExportError, match="line 2 is no row"):
        list(rows.read_jsonl(tmp_path / "rows"))


def test_columns_are_the_fields(tmp_path: Path) -> None:
    rows.write_parquet(tmp_path / "rows", made())
    schema = pq.read_schema(tmp_path / "rows")
    assert schema.names == [field.name for field in msgspec.structs.fields(Trajectory)]


def test_parquet_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExportError, match=r"dragoman\[parquet\]"):
        rows.write_parquet(tmp_path / "rows", made())
