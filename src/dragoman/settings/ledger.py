"""The settings of the ledger."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dragoman.settings.engines import Count


class Ledger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is recorded of every call, token by token.

    path: the folder that it is kept in; empty: nothing is recorded. key: opens /ledger, and makes the keys of
    rollouts; /ledger is not there without one. required: an answer that cannot be recorded fails its call;
    else it goes out, and its session is marked incomplete. days: after which a session that did not change is
    forgotten, and max_bytes: of all, above which the oldest are (0: no bound). remembered_ids: token ids of
    recent turns that are kept in memory, so that the next prompts begin with them.
    """

    path: str = ""
    key: str = ""
    required: bool = False
    days: Annotated[float, Meta(ge=0)] = 0.0
    max_bytes: Count = 0
    remembered_ids: Annotated[int, Meta(ge=1)] = 16_000_000
