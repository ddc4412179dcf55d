"""TLS to one engine: whose certificates are trusted, and which one is shown."""

from __future__ import annotations

import ssl

from dragoman.errors import SettingsError
from dragoman.settings import EngineEntry


def tls_of(entry: EngineEntry) -> ssl.SSLContext | None:
    """The context for an entry's connections; None where it says nothing and the system's will do.

    `SettingsError` names the file that cannot be used.
    """
    if not (entry.ca_file or entry.client_cert or entry.client_key):
        return None
    if entry.client_key and not entry.client_cert:
        raise SettingsError("engines: client_key needs its client_cert")
    try:
        context = ssl.create_default_context(cafile=entry.ca_file or None)
    except OSError as error:
        raise SettingsError(f"engines: ca_file {entry.ca_file} cannot be used: {_why(error)}") from error
    if entry.client_cert:
        try:
            context.load_cert_chain(entry.client_cert, entry.client_key or None)
        except OSError as error:
            files = " and ".join(filter(None, (entry.client_cert, entry.client_key)))
            raise SettingsError(f"engines: client_cert {files} cannot be used: {_why(error)}") from error
    return context


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
