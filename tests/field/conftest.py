"""The servers of the field cases: the same as those of the server's own tests."""

from tests.server.conftest import plain, serve

__all__ = ["plain", "serve"]
