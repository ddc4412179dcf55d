"""The ledger's tables. Paths are a tree of messages: each beginning is there once, however often sent."""

from __future__ import annotations

FILE_NAME = "ledger.sqlite3"

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (digest BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS paths (
        id INTEGER PRIMARY KEY,
        parent INTEGER NOT NULL,
        digest BLOB NOT NULL,
        UNIQUE (parent, digest))""",
    """CREATE TABLE IF NOT EXISTS sessions (
        number INTEGER PRIMARY KEY,
        scope TEXT NOT NULL,
        id TEXT NOT NULL,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        turns INTEGER NOT NULL DEFAULT 0,
        tokens INTEGER NOT NULL DEFAULT 0,
        body BLOB NOT NULL,
        UNIQUE (scope, id))""",
    """CREATE TABLE IF NOT EXISTS turns (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        id TEXT NOT NULL,
        began REAL NOT NULL,
        path INTEGER NOT NULL,
        answer BLOB,
        is_open INTEGER NOT NULL,
        body BLOB NOT NULL,
        tokens BLOB NOT NULL,
        mark BLOB NOT NULL,
        PRIMARY KEY (session, id))""",
    """CREATE INDEX IF NOT EXISTS turns_in_order ON turns (session, began, id)""",
    """CREATE INDEX IF NOT EXISTS open_turns ON turns (session, id) WHERE is_open""",
    """CREATE INDEX IF NOT EXISTS sessions_by_change ON sessions (changed)""",
)

# What no turn leads to any more: paths from the leaves up, then messages.
PATHS_IN_USE = """
    WITH RECURSIVE used (id) AS (
        SELECT path FROM turns
        UNION
        SELECT paths.parent FROM paths JOIN used ON paths.id = used.id WHERE paths.parent != 0)
    DELETE FROM paths WHERE id NOT IN (SELECT id FROM used)"""
MESSAGES_IN_USE = """
    DELETE FROM messages WHERE digest NOT IN (SELECT digest FROM paths)
        AND digest NOT IN (SELECT answer FROM turns WHERE answer IS NOT NULL)"""
PATH = """
    WITH RECURSIVE up (id, parent, digest, depth) AS (
        SELECT id, parent, digest, 0 FROM paths WHERE id = ?
        UNION ALL
        SELECT paths.id, paths.parent, paths.digest, up.depth + 1 FROM paths JOIN up ON paths.id = up.parent)
    SELECT digest FROM up ORDER BY depth DESC"""
