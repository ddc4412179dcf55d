"""Which server tools the settings bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import SettingsError
from dragoman.server_tools.folder import FolderTools
from dragoman.server_tools.searxng import SearXNG
from dragoman.service.server_tools import configured_tools
from dragoman.settings import ServerTools, Settings


def test_without_settings_there_is_the_search_for_tools_alone() -> None:
    assert configured_tools(Settings()).kinds == {"tool_search"}


def test_a_folder_is_both_search_and_fetch(tmp_path: Path) -> None:
    tools = configured_tools(Settings(server_tools=ServerTools(folder=str(tmp_path))))
    assert isinstance(tools.web_search, FolderTools)
    assert tools.web_fetch is tools.web_search
    assert tools.kinds == {"tool_search", "web_search", "web_fetch"}


def test_searxng_is_a_search() -> None:
    tools = configured_tools(Settings(server_tools=ServerTools(searxng="http://127.0.0.1:9")))
    assert isinstance(tools.web_search, SearXNG)
    assert tools.kinds == {"tool_search", "web_search"}


@pytest.mark.parametrize(
    "both", [{"searxng": "http://127.0.0.1:9"}, {"web_fetch": True}], ids=["searxng", "web_fetch"]
)
def test_a_folder_takes_the_place_of_the_web_as_a_whole(tmp_path: Path, both: dict[str, object]) -> None:
    wanted = ServerTools(folder=str(tmp_path), **both)  # type: ignore[arg-type]  # the settings that a row names
    with pytest.raises(SettingsError, match="takes the place of the web"):
        configured_tools(Settings(server_tools=wanted))
