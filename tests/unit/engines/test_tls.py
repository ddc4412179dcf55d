"""TLS to engines: a server with a certificate of its own, and one that asks for ours."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import DragomanError, SettingsError
from dragoman.settings import EngineEntry

MODELS = b'{"data": [{"id": "m"}]}'


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """A certificate that signs itself, for loopback, and its key: two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert_file), str(key_file)


@asynccontextmanager
async def secured(cert: str, key: str, wants: str = "") -> AsyncIterator[str]:
    """A server with this certificate; `wants`: the file of what signs its clients' ones."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=wants or None)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED if wants else ssl.CERT_NONE

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(MODELS) + MODELS)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def models_of(url: str, **files: Any) -> list[str]:
    engine = RemoteInferenceEngine(EngineEntry(url=url, dialect="generic", **files))
    try:
        return [card.id for card in await engine.models()]
    finally:
        await engine.aclose()


async def test_the_certificates_that_are_named_are_trusted(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    other, _ = certificate(tmp_path, "other")
    async with secured(cert, key) as url:
        assert await models_of(url, ca_file=cert) == ["m"]
        for files in ({}, {"ca_file": other}):
            with pytest.raises(EngineUnreachableError):
                await models_of(url, **files)


async def test_our_certificate_is_shown_to_who_asks(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    ours, our_key = certificate(tmp_path, "ours")
    async with secured(cert, key, wants=ours) as url:
        assert await models_of(url, ca_file=cert, client_cert=ours, client_key=our_key) == ["m"]
        with pytest.raises(DragomanError):
            await models_of(url, ca_file=cert)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"ca_file": "gone.pem"}, "ca_file gone.pem cannot be used: No such file or directory"),
        ({"ca_file": "EMPTY"}, "cannot be used: "),
        (
            {"client_cert": "gone.pem", "client_key": "k"},
            "client_cert gone.pem and k cannot be used: No such",
        ),
        ({"client_key": "k"}, "client_key needs its client_cert"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files: dict[str, str], told: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    given: dict[str, Any] = {name: str(empty) if file == "EMPTY" else file for name, file in files.items()}
    with pytest.raises(SettingsError, match=told):
        RemoteInferenceEngine(EngineEntry(url="https://127.0.0.1:1", **given))
