"""Turns as bytes: ids and log-probabilities packed, a prompt as what it adds to an earlier turn's. Pure.

Ids are little-endian 32-bit numbers, log-probabilities 64-bit ones, NaN for one that was not told: what is
read is exactly what was written.
"""

from __future__ import annotations

import hashlib
import math
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence

import msgspec

from dragoman.ledger.token_in import common
from dragoman.ledger.values import Drift, LogprobsKind, Sample, Segment, Turn

Ids = Sequence[int]
# Bodies that are shorter gain nothing.
_WORTH_IT = 128
_CHECK_BYTES = 16
_LITTLE = sys.byteorder == "little"


class PackingError(ValueError):
    """Bytes that are no turn: the message says why."""


class _Head(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A sample but for its numbers. shared: how many of its prompt's ids begin the turn `of`."""

    engine: str
    door: str
    kind: LogprobsKind
    segments: list[Segment]
    finish_reason: str = ""
    base: str = ""
    carried: int = 0
    drift: Drift | None = None
    of: str = ""
    shared: int = 0
    rest: int = 0
    sampled: int = 0
    logprobs: int = 0


class Packed(msgspec.Struct, frozen=True):
    """A turn as it is kept, its path apart."""

    body: bytes
    tokens: bytes


_encode = msgspec.json.Encoder().encode
_heads = msgspec.json.Decoder(list[_Head])
_turn = msgspec.json.Decoder(Turn)


def squeezed(data: bytes) -> bytes:
    """The bytes with a mark of how they are kept: as they are, or compressed."""
    if len(data) >= _WORTH_IT:
        small = zlib.compress(data, 1)
        if len(small) < len(data):
            return b"\1" + small
    return b"\0" + data


def unsqueezed(kept: bytes) -> bytes:
    """The bytes that `squeezed` took; raises `PackingError` for others."""
    try:
        return zlib.decompress(kept[1:]) if kept[:1] == b"\1" else kept[1:]
    except zlib.error as error:
        raise PackingError(f"compressed bytes cannot be read: {error}") from error


def checksum(*parts: bytes) -> bytes:
    """A digest of what one row holds."""
    made = hashlib.blake2b(digest_size=_CHECK_BYTES)
    for part in parts:
        made.update(len(part).to_bytes(8, "little") + part)
    return made.digest()


def pack(turn: Turn, earlier: str = "", recorded: Ids = ()) -> Packed:
    """A turn as bytes. `recorded`: prompt and answer of `earlier`, which its prompt may begin with."""
    heads: list[_Head] = []
    numbers: list[bytes] = []
    for sample in turn.samples:
        shared = common(list(sample.prompt_ids), list(recorded)) if earlier else 0
        rest = sample.prompt_ids[shared:]
        heads.append(_head(sample, earlier if shared else "", shared, len(rest)))
        numbers += [_ids(rest), _ids(sample.sampled_ids), _floats(sample.logprobs)]
        # a later call of the turn begins with the call before it
        earlier, recorded = turn.id, [*sample.prompt_ids, *sample.sampled_ids]
    head = _encode(heads)
    tokens = len(head).to_bytes(4, "little") + head + b"".join(numbers)
    return Packed(packed_body(turn), squeezed(tokens))


def packed_body(turn: Turn) -> bytes:
    """A turn but for its path and samples."""
    return squeezed(_encode(turn.light))


def unpacked_body(body: bytes) -> Turn:
    """What `packed_body` took; raises `PackingError`."""
    try:
        return _turn.decode(unsqueezed(body))
    except msgspec.DecodeError as error:
        raise PackingError(f"a turn cannot be read: {error}") from error


def unpack(body: bytes, tokens: bytes, path: Iterable[str], recorded: Callable[[str], Ids]) -> Turn:
    """The turn; `recorded` gives prompt and answer of an earlier one. Raises `PackingError`."""
    turn, plain = unpacked_body(body), unsqueezed(tokens)
    size = int.from_bytes(plain[:4], "little")
    try:
        heads = _heads.decode(plain[4 : 4 + size])
    except msgspec.DecodeError as error:
        raise PackingError(f"a turn's samples cannot be read: {error}") from error
    place = 4 + size
    samples: list[Sample] = []
    for head in heads:
        rest, sampled, logprobs = array("I"), array("I"), array("d")
        for numbers, count in ((rest, head.rest), (sampled, head.sampled), (logprobs, head.logprobs)):
            place = _fill(numbers, plain, place, count)
        before: Ids = ()
        if head.of == turn.id:
            before = [*samples[-1].prompt_ids, *samples[-1].sampled_ids]
        elif head.of:
            before = recorded(head.of)
        if len(before) < head.shared:
            raise PackingError(f"the ids of the turn {head.of} are missing")
        samples.append(_sample(head, [*before[: head.shared], *rest], sampled, logprobs))
    return msgspec.structs.replace(turn, samples=tuple(samples), path=tuple(path))


def sampled_in(tokens: bytes) -> int:
    """How many tokens the samples of a turn hold; raises `PackingError`."""
    plain = unsqueezed(tokens)
    try:
        heads = _heads.decode(plain[4 : 4 + int.from_bytes(plain[:4], "little")])
    except msgspec.DecodeError as error:
        raise PackingError(f"a turn's samples cannot be read: {error}") from error
    return sum(head.sampled for head in heads)


def _head(sample: Sample, of: str, shared: int, rest: int) -> _Head:
    return _Head(
        engine=sample.engine,
        door=sample.door,
        kind=sample.logprobs_kind,
        segments=list(sample.segments),
        finish_reason=sample.finish_reason,
        base=sample.base,
        carried=sample.carried,
        drift=sample.drift,
        of=of,
        shared=shared,
        rest=rest,
        sampled=len(sample.sampled_ids),
        logprobs=len(sample.logprobs),
    )


def _sample(head: _Head, prompt: list[int], sampled: array[int], logprobs: array[float]) -> Sample:
    return Sample(
        engine=head.engine,
        door="tokens" if head.door == "tokens" else "chat",
        prompt_ids=tuple(prompt),
        sampled_ids=tuple(sampled),
        logprobs=tuple(None if math.isnan(value) else value for value in logprobs),
        logprobs_kind=head.kind,
        segments=tuple(head.segments),
        finish_reason=head.finish_reason,
        base=head.base,
        carried=head.carried,
        drift=head.drift,
    )


def _ids(ids: Ids) -> bytes:
    return _little(array("I", ids))


def _floats(values: Sequence[float | None]) -> bytes:
    return _little(array("d", [math.nan if value is None else value for value in values]))


def _little(numbers: array[int] | array[float]) -> bytes:
    if not _LITTLE:  # pragma: no cover - CI's machines are little-endian
        numbers.byteswap()
    return numbers.tobytes()


def _fill(numbers: array[int] | array[float], data: bytes, place: int, count: int) -> int:
    """Reads so many numbers; where the next ones stand."""
    end = place + count * numbers.itemsize
    if len(data) < end:
        raise PackingError("a turn's numbers are cut")
    numbers.frombytes(data[place:end])
    if not _LITTLE:  # pragma: no cover - CI's machines are little-endian
        numbers.byteswap()
    return end
