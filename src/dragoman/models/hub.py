"""The model hub as a source: one file over HTTP, resumed where a connection was cut."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus

import aiohttp

from dragoman.models.catalogue import HubSource
from dragoman.models.progress import Report
from dragoman.models.workplace import SourceError, Workplace, reason, sha256_of

DEFAULT_HUB = "https://huggingface.co"
# Short: where no hub can be reached, the next source waits behind this.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
# Cuts in a row without a single new byte after which the hub is given up.
FRUITLESS_CUTS = 3
PIECE = 1 << 20


def hub_address() -> str:
    """The hub, or its mirror that the machine names."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_HUB


async def fetch_from_hub(source: HubSource, place: Workplace, report: Report) -> None:
    """Brings the file to its place; raises `SourceError`."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "true", "yes"}:
        raise SourceError("HF_HUB_OFFLINE is set")
    url = f"{hub_address()}/{source.path}"
    place.need(place.model.size - _here(place))
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session:
        await _with_retries(session, url, place, report)
    digest = await asyncio.to_thread(sha256_of, place.hub_part)
    place.accept(place.hub_part, digest)


def _here(place: Workplace) -> int:
    return place.hub_part.stat().st_size if place.hub_part.exists() else 0


async def _with_retries(session: aiohttp.ClientSession, url: str, place: Workplace, report: Report) -> None:
    fruitless = 0
    while _here(place) < place.model.size:
        before = _here(place)
        try:
            await _read(session, url, place, report)
        except aiohttp.InvalidURL as error:
            raise SourceError("HF_ENDPOINT is no address like https://hub.example") from error
        except aiohttp.ClientConnectorError as error:
            raise SourceError(f"cannot be reached: {error.os_error.strerror or error.os_error}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise SourceError(f"cannot be reached: no connection within {CONNECT_TIMEOUT:.0f} s") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            fruitless = fruitless + 1 if _here(place) <= before else 0
            if fruitless >= FRUITLESS_CUTS:
                raise SourceError(
                    f"the connection was cut again and again: {error or 'no answer'}"
                ) from error
        except OSError as error:
            raise SourceError(reason(error, place.folder)) from error


async def _read(session: aiohttp.ClientSession, url: str, place: Workplace, report: Report) -> None:
    """One connection: what follows the bytes that are here."""
    start = _here(place)
    headers = {"Range": f"bytes={start}-"} if start else {}
    async with session.get(url, headers=headers) as answer:
        if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise SourceError(f"answered {answer.status} {answer.reason}")
        # A server that knows no ranges sends the whole file again.
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        with place.hub_part.open("ab" if resumed else "wb") as file:
            done = start if resumed else 0
            async for piece in answer.content.iter_chunked(PIECE):
                done += len(piece)
                if done > place.model.size:
                    raise SourceError(_too_long(place))
                file.write(piece)
                report.reached(done)
    if done < place.model.size:
        raise aiohttp.ClientPayloadError(f"{done} of {place.model.size} bytes came")


def _too_long(place: Workplace) -> str:
    place.hub_part.unlink()
    return f"sends more than the {place.model.size} bytes that {place.model.file} has"
