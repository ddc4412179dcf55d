"""The server tools that the settings name."""

from __future__ import annotations

from pathlib import Path

from dragoman.content.fetch import Fetched, FetchError
from dragoman.content.refusal import ContentError
from dragoman.content.resolver import ContentResolver
from dragoman.errors import SettingsError
from dragoman.server_tools.base import ServerToolError, ServerTools
from dragoman.server_tools.folder import FolderTools
from dragoman.server_tools.pages import PageFetch
from dragoman.server_tools.searxng import SearXNG
from dragoman.settings import Settings
from dragoman.wire.anthropic.blocks import TextBlock


def check_server_tools(settings: Settings) -> None:
    """Raises what is wrong with these settings; nothing is opened."""
    configured_tools(settings, ContentResolver(settings))


def configured_tools(settings: Settings, content: ContentResolver) -> ServerTools:
    """The tools for these settings; a folder takes the place of the web as a whole."""
    wanted = settings.server_tools
    if wanted.folder and (wanted.searxng or wanted.web_fetch):
        raise SettingsError(
            "settings: server_tools.folder takes the place of the web: leave searxng and web_fetch out"
        )
    if wanted.folder:
        folder = FolderTools(Path(wanted.folder).expanduser())
        return ServerTools(web_search=folder, web_fetch=folder)
    return ServerTools(
        web_search=SearXNG(wanted.searxng, seconds=settings.fetch.seconds) if wanted.searxng else None,
        web_fetch=_pages(content) if wanted.web_fetch else None,
    )


def _pages(content: ContentResolver) -> PageFetch:
    """Pages of the web: their addresses fetched, and their PDFs read, as those of requests are."""

    async def get(url: str) -> Fetched:
        try:
            return await content.fetch(url)
        except FetchError as error:
            raise ServerToolError(error.code, error.message) from error

    async def pdf_text(data: bytes) -> str:
        try:
            document = await content.pdfs.read(data, images=False)
        except ContentError as error:
            raise ServerToolError("unsupported_content_type", error.message) from error
        return "\n\n".join(page.text for page in document.pages if isinstance(page, TextBlock))

    return PageFetch(get, pdf_text=pdf_text)
