"""Answers of the Files API."""

from __future__ import annotations

import msgspec


class FileMetadata(msgspec.Struct, tag_field="type", tag="file", kw_only=True):
    """What is known of a file; `scope` is a key of the beta, where sessions own files: none do here."""

    id: str
    created_at: str
    filename: str
    mime_type: str
    size_bytes: int
    downloadable: bool = True
    expires_at: str | None = None
    scope: None = None


class DeletedFile(msgspec.Struct, tag_field="type", tag="file_deleted"):
    """A file that is no more."""

    id: str


class FilePage(msgspec.Struct, kw_only=True):
    """A page of the list of files; `next_page` leads to the one after it.

    Clients from before that cursor turn pages by `has_more` and the ids of the first and the last file.
    """

    data: list[FileMetadata]
    next_page: str | None = None
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None
