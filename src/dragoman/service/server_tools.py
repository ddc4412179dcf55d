"""The server tools that the settings name."""

from __future__ import annotations

from pathlib import Path

from dragoman.errors import SettingsError
from dragoman.server_tools.base import ServerTools, WebFetch, WebSearch
from dragoman.server_tools.folder import FolderTools
from dragoman.server_tools.searxng import SearXNG
from dragoman.settings import Settings


def configured_tools(settings: Settings) -> ServerTools:
    """The tools for these settings; a folder takes the place of the web as a whole."""
    wanted = settings.server_tools
    if wanted.folder and (wanted.searxng or wanted.web_fetch):
        raise SettingsError(
            "settings: server_tools.folder takes the place of the web: leave searxng and web_fetch out"
        )
    if wanted.folder:
        folder = FolderTools(Path(wanted.folder).expanduser())
        return ServerTools(web_search=folder, web_fetch=folder)
    search: WebSearch | None = None
    fetch: WebFetch | None = None
    if wanted.searxng:
        search = SearXNG(wanted.searxng, seconds=settings.fetch.seconds)
    return ServerTools(web_search=search, web_fetch=fetch)
