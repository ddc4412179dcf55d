"""The Files API: /v1/files."""

from __future__ import annotations

import asyncio
import base64
import binascii
import mimetypes
import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.server.exchange import Exchange
from dragoman.server.guard import Guard
from dragoman.server.moments import rfc3339
from dragoman.server.multipart import FormReader, PartBegin, PartEnd, boundary_of
from dragoman.server.paging import cursors_of, limit_of, query_items, query_of
from dragoman.server.traffic import Traffic
from dragoman.settings import Settings
from dragoman.store.interface import FileStore, StoredFile, Upload
from dragoman.wire.anthropic.files import DeletedFile, FileMetadata, FilePage

# What a form may hold beside the bytes of its file.
_AROUND = 64 * 1024
_MAX_NAME = 255
_MAX_IDS = 100
_SHORTEST, _LONGEST = 3600, 7_776_000
_PIECE = 256 * 1024
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_UNKNOWN_TYPE = "application/octet-stream"
# The library's own table, the same on every machine.
_types = mimetypes.MimeTypes()
_CURSOR = "page_"
# Beyond what the store's integers hold.
_NEVER = 2**63


class FilesEndpoint:
    """Files that clients keep here."""

    def __init__(
        self, store: FileStore, settings: Settings, guard: Guard, traffic: Traffic, ids: Callable[[str], str]
    ) -> None:
        self._store = store
        self._settings = settings
        self._guard = guard
        self._traffic = traffic
        self._ids = ids

    async def create(self, exchange: Exchange) -> None:
        """Takes a file in, as it comes."""
        async with self._traffic.admit(exchange):
            if self._guard.is_open and not exchange.header(b"anthropic-version"):
                # a web page can post a form without asking, but not with this header
                raise InvalidRequestError("anthropic-version: this header is required for an upload")
            boundary = boundary_of(exchange.header(b"content-type"))
            async with self._store.upload(exchange.scope_name) as upload:
                form = await self._read(exchange, boundary, upload)
                file = await upload.keep(
                    self._ids("file"),
                    filename=form.filename,
                    mime_type=form.mime_type,
                    expires_in=form.expires_in,
                )
            await exchange.respond(200, msgspec.json.encode(_metadata(file)))

    async def list(self, exchange: Exchange) -> None:
        """One page of the files, or those that are asked for by their ids."""
        query, scope = query_of(exchange), exchange.scope_name
        ids = [text for name, text in query_items(exchange) if name in {"ids", "ids[]"}]
        if query.get("scope_id"):
            # no session owns files here
            page = _page_of([])
        elif ids:
            page = await self._some(ids, query, scope)
        else:
            page = await self._page(query, scope)
        await exchange.respond(200, msgspec.json.encode(page))

    async def get(self, exchange: Exchange) -> None:
        """What is known of a file."""
        file = await self._store.get(_id(exchange), exchange.scope_name)
        await exchange.respond(200, msgspec.json.encode(_metadata(file)))

    async def content(self, exchange: Exchange) -> None:
        """A file's bytes."""
        async with self._traffic.admit(exchange):
            file, source = await self._store.open(_id(exchange), exchange.scope_name)
            with source:
                exchange.watch()
                headers = [
                    (b"content-type", file.mime_type.encode()),
                    (b"content-length", b"%d" % file.size),
                    (b"content-disposition", f"attachment; filename*=UTF-8''{quote(file.filename)}".encode()),
                    # a browser takes it for nothing else
                    (b"x-content-type-options", b"nosniff"),
                ]
                await exchange.begin_download(headers, stall=self._settings.timeouts.stall)
                while piece := await asyncio.to_thread(source.read, _PIECE):
                    await exchange.write(piece)
                await exchange.end()

    async def delete(self, exchange: Exchange) -> None:
        """Removes a file."""
        await self._store.delete(_id(exchange), exchange.scope_name)
        await exchange.respond(200, msgspec.json.encode(DeletedFile(_id(exchange))))

    async def _read(self, exchange: Exchange, boundary: str, upload: Upload) -> UploadForm:
        reader, form = FormReader(boundary), UploadForm(strict=self._settings.strict)
        limits, timeouts = self._settings.limits, self._settings.timeouts
        most = self._settings.files.max_bytes + _AROUND
        seconds = timeouts.body * max(1.0, most / limits.body_bytes)
        async for piece in exchange.pieces(limit=most, seconds=seconds):
            for event in reader.feed(piece):
                if isinstance(event, PartBegin):
                    form.begin(event)
                elif isinstance(event, PartEnd):
                    form.end()
                elif form.is_in_file:
                    await upload.write(event)
                else:
                    form.add(event)
        reader.close()
        form.check()
        return form

    async def _page(self, query: dict[str, str], scope: str) -> FilePage:
        limit = limit_of(query)
        after, before = cursors_of(query)
        if query.get("page") and (after or before):
            raise InvalidRequestError("page: cannot stand beside after_id or before_id")
        if before:
            place = await self._place(before, scope, "before_id")
            found = await self._store.page(scope, limit + 1, before=place)
            return _page_of(found[-limit:], has_more=len(found) > limit)
        if after:
            start: tuple[int, str] | None = await self._place(after, scope, "after_id")
        else:
            start = _parsed_cursor(query["page"]) if query.get("page") else None
        found = await self._store.page(scope, limit + 1, start)
        next_page = _cursor(found[limit - 1]) if len(found) > limit else None
        return _page_of(found[:limit], has_more=len(found) > limit, next_page=next_page)

    async def _place(self, file_id: str, scope: str, name: str) -> tuple[int, str]:
        """Where a file stands in the list."""
        try:
            file = await self._store.get(file_id, scope)
        except NotFoundError as error:
            raise InvalidRequestError(f"{name}: {error.message}") from None
        return file.created, file.id

    async def _some(self, ids: Sequence[str], query: dict[str, str], scope: str) -> FilePage:
        for name in ("page", "limit", "after_id", "before_id"):
            if query.get(name):
                raise InvalidRequestError(f"{name}: cannot stand beside ids")
        wanted = list(dict.fromkeys(ids))
        if len(wanted) > _MAX_IDS:
            raise InvalidRequestError(f"ids: Input should have at most {_MAX_IDS} items")
        found = await self._store.some(scope, wanted)
        return _page_of(found)


class UploadForm:
    """What the form of an upload says, beside the bytes of the file."""

    def __init__(self, *, strict: bool) -> None:
        self.is_in_file = False
        self.filename = ""
        self.mime_type = _UNKNOWN_TYPE
        self.expires_in: int | None = None
        self._strict = strict
        self._seen: set[str] = set()
        self._field = ""
        self._text = bytearray()

    def begin(self, part: PartBegin) -> None:
        """The head of a part."""
        known = part.name in {"file", "expires_in_seconds"}
        if known and part.name in self._seen:
            raise InvalidRequestError(f"{part.name}: it stands in the form twice")
        if not known and self._strict:
            raise InvalidRequestError(f"{part.name[:100]}: Extra inputs are not permitted")
        self._seen.add(part.name)
        self._field = part.name
        self._text.clear()
        self.is_in_file = part.name == "file"
        if self.is_in_file:
            self.mime_type = _media_type(part)
            self.filename = _filename(part.filename or "", self.mime_type)

    def add(self, text: bytes) -> None:
        """A piece of a field that is no file."""
        self._text += text
        if len(self._text) > _AROUND:
            raise InvalidRequestError(f"{self._field[:100]}: it is longer than {_AROUND} bytes")

    def end(self) -> None:
        """The end of a part."""
        if self._field == "expires_in_seconds":
            self.expires_in = _expiry(self._text.decode("latin-1").strip())
        self.is_in_file = False

    def check(self) -> None:
        """The whole form was read."""
        if "file" not in self._seen:
            raise InvalidRequestError("file: Field required")


def _expiry(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and _SHORTEST <= int(text) <= _LONGEST:
        return int(text)
    raise InvalidRequestError(
        f"expires_in_seconds: Input should be an integer from {_SHORTEST} to {_LONGEST}"
    )


def _media_type(part: PartBegin) -> str:
    """The part's declared type without parameters; where it says nothing, what the file's name says."""
    declared = part.content_type.partition(";")[0].strip().lower()
    if declared and not _MEDIA_TYPE.fullmatch(declared):
        raise InvalidRequestError(f"file: its content-type {declared[:100]!r} is not a media type")
    if declared and declared != _UNKNOWN_TYPE:
        return declared
    return _types.guess_type(_last(part.filename or ""))[0] or _UNKNOWN_TYPE


def _filename(given: str, mime_type: str) -> str:
    name = _last(given)
    if len(name) > _MAX_NAME:
        raise InvalidRequestError(f"file: its filename is longer than {_MAX_NAME} characters")
    return name or f"unnamed{_types.guess_extension(mime_type) or ''}"


def _last(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _metadata(file: StoredFile) -> FileMetadata:
    return FileMetadata(
        id=file.id,
        created_at=rfc3339(file.created),
        filename=file.filename,
        mime_type=file.mime_type,
        size_bytes=file.size,
        expires_at=None if file.expires is None else rfc3339(file.expires),
    )


def _page_of(
    files: Sequence[StoredFile], *, has_more: bool = False, next_page: str | None = None
) -> FilePage:
    return FilePage(
        data=[_metadata(file) for file in files],
        next_page=next_page,
        has_more=has_more,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
    )


def _id(exchange: Exchange) -> str:
    found: str = exchange.scope["path_params"]["id"]
    return found


def _cursor(file: StoredFile) -> str:
    return _CURSOR + base64.urlsafe_b64encode(f"{file.created}:{file.id}".encode()).decode().rstrip("=")


def _parsed_cursor(text: str) -> tuple[int, str]:
    """The moment and the id in a cursor that this server gave out."""
    code = text.removeprefix(_CURSOR)
    try:
        plain = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
        created, _, file_id = plain.partition(":")
        moment = int(created)
    except (binascii.Error, ValueError):
        moment, file_id = -1, ""
    if not 0 <= moment < _NEVER:
        raise InvalidRequestError("page: it is no cursor of this server")
    return moment, file_id
