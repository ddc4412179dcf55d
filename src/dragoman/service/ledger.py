"""The ledger that the settings ask for."""

from __future__ import annotations

import time
from pathlib import Path

from dragoman.ledger.canonical import Canonical
from dragoman.ledger.index import Index
from dragoman.ledger.recorder import Ledger
from dragoman.ledger.store import SQLiteLedger
from dragoman.settings import Settings
from dragoman.translate.system import without_billing_header

_DAY = 86_400.0


def configured_ledger(settings: Settings) -> Ledger | None:
    """The ledger; None where nothing is to be recorded."""
    asked = settings.ledger
    if not asked.path:
        return None
    return Ledger(
        SQLiteLedger(Path(asked.path).expanduser()),
        Canonical(without_billing_header),
        now=time.time,
        is_required=asked.required,
        index=Index(ids=asked.remembered_ids),
        seconds=asked.days * _DAY,
        most_bytes=asked.max_bytes,
    )
