"""Rows in files: JSONL, and Parquet with the extra `parquet`. A file is whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dragoman.ledger.export.trajectory import SCHEMA_VERSION, ExportError, Trajectory

# Rows that are one group of a Parquet file: so many are in memory at once.
_GROUP = 64


def write_jsonl(path: Path, rows: Iterable[Trajectory]) -> int:
    """Writes a line for each row, and tells how many."""
    encoder, count = msgspec.json.Encoder(), 0
    with _whole(path) as out:
        for row in rows:
            out.write(encoder.encode(row) + b"\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[Trajectory]:
    """The rows of a file; raises `ExportError` at one that is none, or of a later version."""
    decoder = msgspec.json.Decoder(Trajectory)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _known(decoder.decode(line))
            except msgspec.MsgspecError as error:
                raise ExportError(f"line {number} is no row: {error}") from error


def write_parquet(path: Path, rows: Iterable[Trajectory]) -> int:
    """Writes the same fields as columns, and tells how many rows; `metadata` is JSON there."""
    arrow, parquet = _arrow()
    schema, count = _schema(arrow), 0
    with _whole(path) as out, parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _grouped(rows):
            writer.write_batch(arrow.RecordBatch.from_pylist([_columns(row) for row in group], schema))
            count += len(group)
    return count


def read_parquet(path: Path) -> Iterator[Trajectory]:
    """The rows of a file; raises `ExportError` at one of a later version."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_GROUP):
            for columns in batch.to_pylist():
                columns["metadata"] = msgspec.json.decode(columns["metadata"])
                columns["rewards"] = dict(columns["rewards"])
                yield _known(msgspec.convert(columns, Trajectory))


def _known(row: Trajectory) -> Trajectory:
    if row.schema_version > SCHEMA_VERSION:
        raise ExportError(f"rows of version {row.schema_version} are read by a later Dragoman")
    return row


def _grouped(rows: Iterable[Trajectory]) -> Iterator[list[Trajectory]]:
    group: list[Trajectory] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when all is written and on the disk, and leaves nothing else."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _arrow() -> tuple[Any, Any]:
    """PyArrow and its Parquet; raises `ExportError` where the extra is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ExportError("Parquet needs the extra: pip install 'dragoman[parquet]'") from error
    return pa, parquet


def _schema(arrow: Any) -> Any:
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    span = {
        **dict.fromkeys(("turn", "why", "agent", "request_class", "model"), text),
        **dict.fromkeys(("finish_reason", "logprobs_kind"), text),
        **dict.fromkeys(("sample", "start", "end", "trained", "untold"), whole),
        **dict.fromkeys(("temperature", "began", "ended"), real),
    }
    weights = {"start": whole, "end": whole, "engine": text, "weight_version": text}
    return arrow.schema(
        {
            "schema_version": arrow.int32(),
            "session": text,
            "row": whole,
            "token_ids": arrow.list_(whole),
            "mask": arrow.list_(arrow.int8()),
            "logprobs": arrow.list_(real),
            "prompt_length": whole,
            "spans": arrow.list_(arrow.struct(span)),
            "weights": arrow.list_(arrow.struct(weights)),
            "broke_at": whole,
            "broke_because": text,
            "rewards": arrow.map_(text, real),
            "metadata": text,
        }
    )


def _columns(row: Trajectory) -> dict[str, Any]:
    columns = msgspec.structs.asdict(row)
    columns["spans"] = [msgspec.structs.asdict(span) for span in row.spans]
    columns["weights"] = [msgspec.structs.asdict(each) for each in row.weights]
    columns["rewards"] = list(row.rewards.items())
    columns["metadata"] = msgspec.json.encode(row.metadata).decode()
    return columns
