"""The ledger's rows: each function works inside of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import cast

import msgspec

from dragoman.ledger.interface import SessionFrozenError, Summary
from dragoman.ledger.packing import (
    Ids,
    PackingError,
    checksum,
    pack,
    packed_body,
    sampled_in,
    squeezed,
    unpack,
    unpacked_body,
    unsqueezed,
)
from dragoman.ledger.schema import PATH
from dragoman.ledger.values import Message, Session, Turn

_encode = msgspec.json.Encoder().encode
_session = msgspec.json.Decoder(Session)
_COLUMNS = "id, began, path, answer, body, tokens, mark, is_open"
_BROKEN = "its record is broken"


# ---- sessions ----------------------------------------------------------------------------------------------


def session(db: sqlite3.Connection, scope: str, name: str) -> tuple[int, Session] | None:
    """A session with its number."""
    row = db.execute("SELECT number, body FROM sessions WHERE scope = ? AND id = ?", (scope, name)).fetchone()
    return None if row is None else (row[0], _session.decode(row[1]))


def session_of(db: sqlite3.Connection, turn: Turn, now: float) -> tuple[int, Session]:
    """The session of a turn, made where there is none."""
    found = session(db, turn.scope, turn.session)
    if found is None:
        put_session(db, Session(id=turn.session, scope=turn.scope, created=now), now)
        found = session(db, turn.scope, turn.session)
    assert found is not None
    return found


def put_session(db: sqlite3.Connection, made: Session, now: float) -> None:
    """Keeps a session; raises `SessionFrozenError` where it is frozen already."""
    found = session(db, made.scope, made.id)
    if found is not None and found[1].state == "frozen" and made != found[1]:
        raise SessionFrozenError(f"the session {made.id} is frozen: it cannot be changed")
    _write_session(db, made, now)


def _write_session(db: sqlite3.Connection, made: Session, now: float) -> None:
    db.execute(
        "INSERT INTO sessions (scope, id, created, changed, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (scope, id) DO UPDATE SET changed = excluded.changed, body = excluded.body",
        (made.scope, made.id, made.created, now, _encode(made)),
    )


def mark_incomplete(db: sqlite3.Connection, scope: str, name: str, why: str, now: float) -> None:
    """Says of a session, made where there is none, why something of it is missing; the first reason stays."""
    found = session(db, scope, name)
    marked = Session(id=name, scope=scope, created=now) if found is None else found[1]
    if not marked.incomplete:
        _write_session(db, msgspec.structs.replace(marked, incomplete=why), now)


def sessions(db: sqlite3.Connection, before: float | None, limit: int) -> list[Summary]:
    """The last changed first."""
    found = db.execute(
        "SELECT body, turns, tokens, changed FROM sessions WHERE ? IS NULL OR changed < ?"
        " ORDER BY changed DESC, number DESC LIMIT ?",
        (before, before, limit),
    )
    return [Summary(_session.decode(body), *counts) for body, *counts in found]


def bytes_used(db: sqlite3.Connection) -> int:
    """Bytes of what is kept, free pages left out."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return cast("int", (pages - free) * size)


# ---- messages ----------------------------------------------------------------------------------------------


def missing(db: sqlite3.Connection, turn: Turn) -> set[str]:
    """The digests of a turn's messages that are not there."""
    wanted: set[str] = set()
    for digest in (turn.answer, *reversed(turn.path)):
        key = (bytes.fromhex(digest),)
        if digest and db.execute("SELECT 1 FROM messages WHERE digest = ?", key).fetchone() is None:
            wanted.add(digest)
    return wanted


def put_messages(db: sqlite3.Connection, made: Iterable[Message]) -> None:
    """Keeps messages; those that are there are the same."""
    rows = [(bytes.fromhex(message.digest), squeezed(message.body)) for message in made]
    db.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?)", rows)


def messages(db: sqlite3.Connection, digests: Collection[str]) -> dict[str, Message]:
    """The messages that are there."""
    found: dict[str, Message] = {}
    for digest in digests:
        row = db.execute("SELECT body FROM messages WHERE digest = ?", (bytes.fromhex(digest),)).fetchone()
        if row is not None:
            found[digest] = Message(digest, unsqueezed(row[0]))
    return found


def _put_path(db: sqlite3.Connection, path: Sequence[str]) -> int:
    """The end of a path, with what of it was not there yet."""
    node = 0
    for digest in path:
        key = (node, bytes.fromhex(digest))
        row = db.execute("SELECT id FROM paths WHERE parent = ? AND digest = ?", key).fetchone()
        if row is None:
            node = db.execute("INSERT INTO paths (parent, digest) VALUES (?, ?)", key).lastrowid or 0
        else:
            node = row[0]
    return node


# ---- turns -------------------------------------------------------------------------------------------------


def put_turn(db: sqlite3.Connection, number: int, turn: Turn, earlier: tuple[str, Ids]) -> None:
    """Keeps a turn in the place of what was known of it; earlier: whose ids its prompt may begin with."""
    packed, path = pack(turn, *earlier), _put_path(db, turn.path)
    answer = bytes.fromhex(turn.answer) if turn.answer else None
    mark = checksum(packed.body, packed.tokens, *map(bytes.fromhex, turn.path))
    db.execute(
        f"INSERT OR REPLACE INTO turns (session, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of our own
        (
            number,
            turn.id,
            turn.began,
            path,
            answer,
            packed.body,
            packed.tokens,
            mark,
            turn.state == "open",
        ),
    )


def amend_turn(db: sqlite3.Connection, number: int, turn: Turn) -> None:
    """Writes a turn again whose path and samples are those that are there."""
    row = _row(db, number, turn.id)
    assert row is not None
    body = packed_body(turn)
    mark = checksum(body, row[5], *map(bytes.fromhex, turn.path))
    db.execute(
        "UPDATE turns SET body = ?, mark = ? WHERE session = ? AND id = ?", (body, mark, number, turn.id)
    )


def count(db: sqlite3.Connection, number: int, now: float, turns: int, tokens: int) -> None:
    """Adds to what a session has used."""
    db.execute(
        "UPDATE sessions SET changed = ?, turns = turns + ?, tokens = tokens + ? WHERE number = ?",
        (now, turns, tokens, number),
    )


def sampled(turn: Turn) -> int:
    """How many tokens a turn sampled."""
    return sum(len(sample.sampled_ids) for sample in turn.samples)


def known(db: sqlite3.Connection, number: int, name: str) -> tuple[Turn, int] | None:
    """A turn without its path and samples, and how many tokens it sampled; one that is broken is none."""
    row = _row(db, number, name)
    try:
        return None if row is None else (unpacked_body(row[4]), sampled_in(row[5]))
    except PackingError:
        return None


def turn_of(db: sqlite3.Connection, number: int, name: str) -> Turn | None:
    """A turn; one that cannot be read is a hole."""
    row = _row(db, number, name)
    return None if row is None else _Reader(db, number).turn(row)


def recorded(db: sqlite3.Connection, number: int, name: str) -> Ids:
    """Prompt and answer of a turn's last sample; nothing where it cannot be read."""
    return _Reader(db, number).recorded(name)


def turns(db: sqlite3.Connection, scope: str, name: str) -> list[Turn]:
    """All of a session, in order of their begin."""
    found = session(db, scope, name)
    if found is None:
        return []
    reader = _Reader(db, found[0])
    return [_named(reader.turn(row), scope, name) for row in _rows(db, found[0])]


def _named(turn: Turn, scope: str, name: str) -> Turn:
    """A hole does not know its session by itself."""
    return msgspec.structs.replace(turn, scope=scope, session=name) if turn.hole else turn


Row = tuple[str, float, int, bytes | None, bytes, bytes, bytes, int]


def _rows(db: sqlite3.Connection, number: int) -> Iterator[Row]:
    return iter(
        db.execute(
            f"SELECT {_COLUMNS} FROM turns WHERE session = ? ORDER BY began, id",  # noqa: S608 - names of our own
            (number,),
        ).fetchall()
    )


def _row(db: sqlite3.Connection, number: int, name: str) -> Row | None:
    found = db.execute(
        f"SELECT {_COLUMNS} FROM turns WHERE session = ? AND id = ?",  # noqa: S608 - names of our own
        (number, name),
    ).fetchone()
    return cast("Row | None", found)


class _Reader:
    """Reads the turns of one session; those that others begin with are read once."""

    def __init__(self, db: sqlite3.Connection, number: int) -> None:
        self._db = db
        self._number = number
        self._known: dict[str, Ids] = {}

    def turn(self, row: Row) -> Turn:
        """The turn of a row; one that cannot be read is a hole."""
        name, began, path_id, _, body, tokens, mark, _ = row
        path = [digest.hex() for (digest,) in self._db.execute(PATH, (path_id,))]
        try:
            if checksum(body, tokens, *map(bytes.fromhex, path)) != mark:
                raise PackingError("its checksum is another")
            turn = unpack(body, tokens, path, self.recorded)
        except PackingError:
            return Turn(id=name, scope="", session="", session_evidence="", began=began, hole=_BROKEN)
        if turn.samples:
            last = turn.samples[-1]
            self._known[name] = [*last.prompt_ids, *last.sampled_ids]
        return turn

    def recorded(self, name: str) -> Ids:
        """Prompt and answer of a turn."""
        if name not in self._known:
            row = _row(self._db, self._number, name)
            self._known[name] = ()
            if row is not None:
                self.turn(row)
        return self._known[name]


def end_open(db: sqlite3.Connection, why: str) -> int:
    """Ends the turns that a process left open, as holes; how many there were."""
    left = db.execute("SELECT session, id FROM turns WHERE is_open").fetchall()
    for number, name in left:
        turn = turn_of(db, number, name)
        if turn is not None and not turn.hole:
            put_turn(db, number, msgspec.structs.replace(turn, state="cut", hole=why), ("", ()))
    return len(left)


# ---- whether it can be read --------------------------------------------------------------------------------


def findings(db: sqlite3.Connection, newest: int | None = None) -> list[str]:
    """What is wrong: with the database, then with each turn (or the newest); their sessions are marked."""
    found = [line for (line,) in db.execute("PRAGMA quick_check") if line != "ok"]
    limit = -1 if newest is None else newest
    latest = db.execute(
        "SELECT session, id FROM turns ORDER BY began DESC LIMIT ?",
        (limit,),
    ).fetchall()
    for number, name in latest:
        turn = turn_of(db, number, name)
        if turn is not None and turn.hole:
            scope, called = db.execute(
                "SELECT scope, id FROM sessions WHERE number = ?", (number,)
            ).fetchone()
            found.append(f"session {called}: turn {name}: {turn.hole}")
            mark_incomplete(db, scope, called, f"turn {name}: {turn.hole}", turn.began)
    return found
