"""Tools that run on this server inside an answer: the interfaces, the backends, and how a call is run."""

from dragoman.server_tools.base import (
    Hit,
    Page,
    SearchScope,
    ServerToolError,
    ServerTools,
    WebFetch,
    WebSearch,
)

__all__ = ["Hit", "Page", "SearchScope", "ServerToolError", "ServerTools", "WebFetch", "WebSearch"]
