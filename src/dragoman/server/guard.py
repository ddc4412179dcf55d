"""Who may come in: the Host header, keys, and web pages of other origins."""

from __future__ import annotations

import hmac
import ipaddress
import re
from functools import lru_cache

from dragoman.errors import AuthenticationError, PermissionDeniedError
from dragoman.ledger.rollouts import SCOPE
from dragoman.ledger.sessions import RolloutKeys
from dragoman.server.exchange import Exchange, Headers
from dragoman.settings import Settings

# A name or an address, the one of IPv6 in brackets, and a port.
_HOST = re.compile(r"([^][:@/\s]+|\[[^][@/\s]+\])(?::\d*)?")
_EXPOSED = b"request-id, x-dragoman-engine, retry-after, x-should-retry"


class Guard:
    """The rules of one server's door, from its settings."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [(name, key.encode()) for name, key in settings.api_keys.items()]
        self._rollouts = RolloutKeys(settings.ledger.key) if settings.ledger.key else None
        self._hosts = frozenset(host.lower() for host in ("localhost", *settings.allowed_hosts))
        self._origins = frozenset(settings.cors_origins)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys: then only this machine may call."""
        return not self._keys

    def check_host(self, exchange: Exchange) -> None:
        """Without keys, refuses names that a web page can make point at this machine."""
        if self._keys:
            return
        hosts = exchange.header_values(b"host")
        if len(hosts) != 1 or not self._is_ours(hosts[0].lower()):
            raise PermissionDeniedError(
                "this server has no API keys and answers only to localhost; "
                "a name it should answer to goes into the setting allowed_hosts"
            )

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1]
        return not self._hosts.isdisjoint((host, name)) or is_loopback(name.strip("[]"))

    def name_of(self, exchange: Exchange) -> str:
        """The name of the key that the client holds; "" where the server has no keys.

        A rollout's key has the name "rollout"; the exchange gets the session that it names.
        """
        if self._rollouts is not None and (session := self._session_of(exchange, self._rollouts)):
            exchange.rollout = session
            return SCOPE
        if not self._keys:
            return ""
        given = _given_key(exchange).encode("latin-1")
        found = None
        for name, key in self._keys:
            # every key is compared, so that the time taken tells nothing
            if hmac.compare_digest(given, key):
                found = name
        if found is None:
            raise AuthenticationError("invalid x-api-key or bearer token")
        return found

    @staticmethod
    def _session_of(exchange: Exchange, rollouts: RolloutKeys) -> str:
        """The session that a rollout's key names; "" where the client shows none."""
        try:
            given = _given_key(exchange)
        except AuthenticationError:
            return ""
        return rollouts.session(given) or ""

    def cors_headers(self, exchange: Exchange) -> Headers:
        """What lets a page of another origin read the answer; nothing where the setting does not name it."""
        origin = exchange.header(b"origin")
        if not _is_plain(origin) or self._origins.isdisjoint((origin, "*")):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]

    @staticmethod
    def preflight_headers(exchange: Exchange, methods: str) -> Headers:
        """What a page may send, after it asked."""
        headers = [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-max-age", b"600"),
        ]
        wanted = exchange.header(b"access-control-request-headers")
        if _is_plain(wanted):
            headers.append((b"access-control-allow-headers", wanted.encode("latin-1")))
        if exchange.header(b"access-control-request-private-network") == "true":
            headers.append((b"access-control-allow-private-network", b"true"))
        return headers


def _is_plain(value: str) -> bool:
    """Whether a header's value may be sent back as it came."""
    return bool(value) and value.isascii() and value.isprintable()


def _given_key(exchange: Exchange) -> str:
    """The one key that the client sent: `x-api-key` wins over a bearer token, several are as good as none."""
    keys = exchange.header_values(b"x-api-key")
    if not keys:
        schemes = [value.partition(" ") for value in exchange.header_values(b"authorization")]
        keys = [token.strip(" \t") for scheme, _, token in schemes if scheme.lower() == "bearer"]
    if not keys:
        raise AuthenticationError("an API key is required, as x-api-key or as a bearer token")
    if len(keys) > 1 or not keys[0]:
        raise AuthenticationError("exactly one API key is expected")
    return keys[0]


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether an address (not a name, but for localhost) reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
