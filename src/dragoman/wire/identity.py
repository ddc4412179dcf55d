"""Who is calling: values that the server makes and that routing and service read."""

from __future__ import annotations

import msgspec


class SessionKey(msgspec.Struct, frozen=True):
    """Calls with equal keys belong together; `evidence` names where the key was found.

    `durable` is False for a fingerprint: it serves placement only and never names a session.
    """

    value: str
    evidence: str
    durable: bool = True


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One call: its request id, the name of the key that opened the door, its session and agent.

    `scope` is the key's name ("" where no keys are set): sessions of different scopes never meet.
    """

    request_id: str
    scope: str = ""
    session: SessionKey | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    betas: tuple[str, ...] = ()
    api_version: str = ""

    @property
    def placement_key(self) -> str | None:
        """The string that placement hashes, None where there is no session."""
        return None if self.session is None else f"{self.scope}\0{self.session.value}"
