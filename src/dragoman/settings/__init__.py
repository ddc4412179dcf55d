"""One frozen Settings value: defaults < dragoman.toml < environment < flags."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.errors import SettingsError
from dragoman.settings.engines import (
    ADDRESS,
    Bytes,
    Count,
    Dialect,
    EngineEntry,
    HttpUrl,
    Ray,
    RayActor,
    Seconds,
)
from dragoman.settings.ledger import Ledger

__all__ = [
    "Batches",
    "Dialect",
    "Documents",
    "EngineEntry",
    "Fetch",
    "Files",
    "Ledger",
    "Limits",
    "LocalEngine",
    "Ray",
    "RayActor",
    "Routing",
    "Seconds",
    "ServerTools",
    "Settings",
    "Threads",
    "Timeouts",
    "load_settings",
]

ENV_PREFIX = "DRAGOMAN_"


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every wait, in seconds; all finite.

    connect: to open a connection to an engine. first_byte: until the engine's status (prefill included).
    between_bytes: silence inside an answer. probe: one question about health, models or dialect. body: for
    a client's head, and again for its body, to arrive (as often as limits.body_bytes go into the largest
    body that its path takes). stall: a client that reads nothing of its stream.
    shutdown: for running answers after SIGTERM. pool: waiting for a free connection to an engine. load:
    loading an embedded model. keep_alive: an idle client's connection.
    """

    connect: Seconds = 5.0
    first_byte: Seconds = 600.0
    between_bytes: Seconds = 300.0
    probe: Seconds = 5.0
    body: Seconds = 30.0
    stall: Seconds = 60.0
    shutdown: Seconds = 30.0
    pool: Seconds = 30.0
    load: Seconds = 600.0
    keep_alive: Seconds = 75.0


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds in bytes or counts.

    body_bytes: of a request. held_bytes: of deltas that wait while a call is open. requests: running at a
    time (0: no bound); more get 529. engine_connections: per engine. remembered_calls: raw argument
    spellings kept in all.
    """

    body_bytes: Bytes = 32 * 1024 * 1024
    held_bytes: Bytes = 4 * 1024 * 1024
    requests: Count = 1024
    engine_connections: Annotated[int, Meta(ge=1)] = 512
    remembered_calls: Count = 4096


class Documents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PDF documents, which a process of their own reads.

    pdf: their pages as text or as images; auto takes images for a model that sees. max_bytes and max_pages:
    of one document. max_pixels: of one page as an image, which is scaled to fit as long as it can be read.
    max_image_pixels: of a picture on a page (150 million are a scan of A0 in 300 dots per inch). seconds: for
    one document.
    """

    pdf: Literal["auto", "text", "images"] = "auto"
    max_bytes: Bytes = 32 * 1024 * 1024
    max_pages: Annotated[int, Meta(ge=1)] = 100
    max_pixels: Annotated[int, Meta(ge=1)] = 1_200_000
    max_image_pixels: Annotated[int, Meta(ge=1)] = 150_000_000
    seconds: Seconds = 30.0


class Fetch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fetching an address that a request or a tool names; never one of a private network.

    max_bytes: of what it leads to. seconds: in all. max_redirects: on the way.
    """

    max_bytes: Bytes = 10 * 1024 * 1024
    seconds: Seconds = 20.0
    max_redirects: Count = 5


class Files(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Files API. max_bytes: of one file. quota_bytes: of all files of one key."""

    max_bytes: Bytes = 32 * 1024 * 1024
    quota_bytes: Bytes = 10 * 1024**3


class Batches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Message Batches.

    concurrency: requests of all batches that run at a time. max_requests: in one batch. max_bytes: of the
    body that makes one. expiry: seconds until what has not begun is given up.
    """

    concurrency: Annotated[int, Meta(ge=1)] = 4
    max_requests: Annotated[int, Meta(ge=1)] = 100_000
    max_bytes: Bytes = 256 * 1024 * 1024
    expiry: Seconds = 86_400.0


class Threads(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Message threads. seconds: how long a conversation is kept after each answer; max_bytes: of one."""

    seconds: Seconds = 300.0
    max_bytes: Bytes = 32 * 1024 * 1024


class ServerTools(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tools that run on this server, inside an answer.

    searxng: address of a SearXNG server for web_search. folder: a local folder that web_search and web_fetch
    read instead of the web. web_fetch: whether addresses are fetched from here. max_rounds: calls of the
    engine in one answer, after which it pauses.
    """

    searxng: HttpUrl | Literal[""] = ""
    folder: str = ""
    web_fetch: bool = False
    max_rounds: Annotated[int, Meta(ge=1)] = 10


class Routing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls are spread over engines, and what happens when one fails, is full, or is paused.

    bound: how far above its share of all calls an engine may be before a session leaves it, and few: calls
    below which it is never above. idle: seconds without a call after which one goes back. retries: engines on
    which a call is tried after the first. retry_share: retries for each call, over time. retry_wait: the
    longest delay that a call waits for because an engine asks for it. breaker_failures: in a row, after which
    an engine gets no calls while others can take them, for breaker_seconds. queue: calls that wait while all
    engines are full, and queue_seconds how long; more get 529. pause_seconds: how long a call waits while
    generation is paused. continuation: whether an answer that an engine leaves in the middle goes on at
    another.
    """

    bound: Annotated[float, Meta(gt=0)] = 0.25
    few: Count = 8
    idle: Seconds = 600.0
    retries: Count = 2
    retry_share: Annotated[float, Meta(ge=0, le=1)] = 0.2
    retry_wait: Seconds = 5.0
    breaker_failures: Annotated[int, Meta(ge=1)] = 5
    breaker_seconds: Seconds = 10.0
    queue: Count = 1024
    queue_seconds: Seconds = 60.0
    pause_seconds: Seconds = 600.0
    continuation: bool = True


class LocalEngine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The embedded engine.

    context: tokens per request (0: the model's own, at most 32768). threads 0: chosen here. mmproj: the file
    with which the model sees images. prompt_aids: a model of the catalogue is helped to call tools, where its
    entry says how.
    """

    context: Count = 0
    parallel: Annotated[int, Meta(ge=1)] = 2
    threads: Count = 0
    cache_dir: str = ""
    mmproj: str = ""
    prompt_aids: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Nested tables have the same names in dragoman.toml.

    api_keys maps a name to a key; empty means an open door on loopback only. allowed_hosts: Host headers
    that the open door takes beside the loopback names. cors_origins: web pages that may call ("*" for all).
    engines empty means the embedded engine with `model` (a catalogue name or a path). aliases maps patterns
    (`*` and `?`) of requested model names to served names, first match wins; an empty target means the
    default model. foreign_thinking: what happens to a thinking block whose signature is not ours.
    text_only_images: what happens to an image for a model that cannot see. image_urls: who fetches an
    image's address: the engine, or this server. document_urls: whether this server fetches a document's.
    strict: refuse unknown fields as the public API does. admin_key: opens /admin, which is not there without
    one. signature_key: 32 bytes in hex or base64 that sign
    thinking, several separated by commas (the first one signs, all open); empty means one that is made once
    in the state folder.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8484
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    api_keys: dict[str, str] = {}
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    engines: tuple[EngineEntry, ...] = ()
    model: str = ""
    default_model: str = ""
    aliases: dict[str, str] = msgspec.field(default_factory=lambda: {"claude-*": ""})
    strict: bool = False
    ping_interval: Seconds = 10.0
    foreign_thinking: Literal["accept", "drop", "refuse"] = "accept"
    text_only_images: Literal["refuse", "note"] = "refuse"
    image_urls: Literal["engine", "fetch", "refuse"] = "engine"
    document_urls: Literal["fetch", "refuse"] = "refuse"
    signature_key: str = ""
    admin_key: str = ""
    state_dir: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    local: LocalEngine = LocalEngine()
    documents: Documents = Documents()
    fetch: Fetch = Fetch()
    files: Files = Files()
    batches: Batches = Batches()
    threads: Threads = Threads()
    server_tools: ServerTools = ServerTools()
    routing: Routing = Routing()
    ray: Ray = Ray()
    ledger: Ledger = Ledger()

    def __post_init__(self) -> None:
        """Refuses a door that would stand open by mistake, and a model that would be loaded several times."""
        if self.workers > 1 and any(entry.kind != "remote" and entry.ray is None for entry in self.engines):
            raise ValueError("workers: an engine in this process needs 1 of them")
        if self.workers > 1 and self.ledger.path:
            raise ValueError("workers: a ledger needs 1 of them: it knows the turns of its own process")
        if not all(name and key for name, key in self.api_keys.items()):
            raise ValueError("api_keys: a name and its key must not be empty")
        if len(set(self.api_keys.values())) < len(self.api_keys):
            raise ValueError("api_keys: two names have the same key")
        if self.admin_key and self.admin_key in self.api_keys.values():
            raise ValueError("admin_key: is also one of api_keys")
        if self.ledger.key and self.ledger.key in {*self.api_keys.values(), self.admin_key}:
            raise ValueError("ledger: its key is also another one")
        for name, key in (
            *self.api_keys.items(),
            ("admin_key", self.admin_key),
            ("ledger.key", self.ledger.key),
        ):
            if key != key.strip() or not key.isprintable():
                raise ValueError(f"api_keys: the key of {name!r} holds what no header can")

    @property
    def state_path(self) -> Path:
        """Folder for what must survive a restart: the signature key, files, batches."""
        if self.state_dir:
            return Path(self.state_dir)
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(base).expanduser() / "dragoman"


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Merges the sources, later ones win, nested tables key by key.

    Environment names are `DRAGOMAN_` plus the field, nested with two underscores
    (`DRAGOMAN_TIMEOUTS__CONNECT=2`); lists are comma separated, tables and engines are JSON. Raises
    `SettingsError` naming the setting and its source.
    """
    sources = [] if file is None else [(str(file), _read_toml(file))]
    sources += _from_environment(os.environ if environ is None else environ)
    sources.append(("the flags", dict(flags or {})))
    merged: dict[str, Any] = {}
    for source, values in sources:
        _check_tables(source, values)
        _merge(merged, values)
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        wrong = _readable(str(error))
        raise SettingsError(f"settings: {_source_of(wrong, sources)}: {wrong}") from error


def _check_tables(source: str, values: dict[str, Any]) -> None:
    """Refuses a value in the place of a table, which a later source's part of that table would hide."""
    for name in sorted(_TABLES & values.keys()):
        if not isinstance(values[name], Mapping):
            raise SettingsError(f"settings: {source}: `{name}` must be a table: [{name}]")


def _source_of(wrong: str, sources: list[tuple[str, dict[str, Any]]]) -> str:
    """The last source that sets what an error is about."""
    place, unknown = _PLACE.search(wrong), _UNKNOWN.search(wrong)
    path = place[1].split(".") if place is not None else []
    if unknown is not None:
        path.append(unknown[1])
    path = path or [wrong.partition(":")[0]]
    setting = [name for name, values in sources if _sets(values, path)]
    return setting[-1] if setting else "all together"


def _sets(values: object, path: list[str]) -> bool:
    for part in path:
        if not isinstance(values, dict):
            break
        if part not in values:
            return False
        values = values[part]
    return True


# Where an error is, down to the first list: lists are set as a whole.
_PLACE = re.compile(r" - at `([^`\[]+)")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings: cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings: {file} is not valid TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Each variable that is ours, with what it sets."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX):
            continue
        field, *path = name.removeprefix(ENV_PREFIX).lower().split("__")
        is_part = field in _TABLES or (field in _JSON_FIELDS and bool(path))
        if field not in Settings.__struct_fields__ or is_part != bool(path):
            raise SettingsError(f"settings: the environment variable {name} names no setting")
        value = _environment_value(name, field, text)
        for part in reversed(path):
            value = {part: value}
        found.append((name, {field: value}))
    return found


_TABLES = frozenset(
    field.name for field in msgspec.structs.fields(Settings) if isinstance(field.default, msgspec.Struct)
)
_JSON_FIELDS = frozenset({"api_keys", "engines", "aliases"})
_LIST_FIELDS = frozenset({"allowed_hosts", "cors_origins"})


def _environment_value(name: str, field: str, text: str) -> object:
    if field in _LIST_FIELDS:
        return [item.strip() for item in text.split(",") if item.strip()]
    if field in _JSON_FIELDS:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise SettingsError(f"settings: {name} must be JSON: {error}") from error
    return text


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        # api_keys and aliases are whole values: half of an alias table would surprise
        if isinstance(value, Mapping) and isinstance(into.get(key), dict) and key not in _JSON_FIELDS:
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _readable(message: str) -> str:
    message = message.replace(f"`str` matching regex {ADDRESS!r}", "an address like http://127.0.0.1:8000")
    return message.replace(" - at `$.", " - at `").replace("`$", "`settings")
