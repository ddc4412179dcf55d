"""The model hub as a source: one file over HTTP, resumed where a connection was cut."""

from __future__ import annotations

import asyncio
import os
import re
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
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


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
        resumed = _checked(answer, start, place)
        with place.hub_part.open("ab" if resumed else "wb") as file:
            done = start if resumed else 0
            async for piece in answer.content.iter_chunked(PIECE):
                done += len(piece)
                if done > place.model.size:
                    raise SourceError(_too_long(place))
                file.write(piece)
                report.reached(done)
    if done < place.model.size:
        # it ended as it should, so this is another file
        place.hub_part.unlink()
        raise SourceError(f"{done} of {place.model.size} bytes came")


def _checked(answer: aiohttp.ClientResponse, start: int, place: Workplace) -> bool:
    """Whether the answer goes on at `start`, or begins anew; `SourceError` where it is not our file at all.

    A network that wants a sign-in answers any address with a page of its own, and a hub may have another file
    in this place by now: nothing of those is written.
    """
    size = place.model.size
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _unfit(place, f"answered {answer.status} {answer.reason}")
    if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise SourceError(f"answered {answer.status} {answer.reason}")
    if answer.content_type == "text/html":
        raise SourceError("answered with a web page in the place of the file")
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        told = answer.headers.get("Content-Range", "")
        found = _RANGE.fullmatch(told)
        if found is None or int(found[1]) != start or found[2] not in {"*", str(size)}:
            raise _unfit(place, f"sends the range {told!r} of another file than {place.model.file}")
        return True
    # A server that knows no ranges sends the whole file again.
    if answer.content_length not in {None, size}:
        raise SourceError(f"sends {answer.content_length} bytes, {place.model.file} has {size}")
    return False


def _unfit(place: Workplace, why: str) -> SourceError:
    """The error of a hub that has no rest for the part which is here: that part is thrown away."""
    place.hub_part.unlink(missing_ok=True)
    return SourceError(why)


def _too_long(place: Workplace) -> str:
    place.hub_part.unlink()
    return f"sends more than the {place.model.size} bytes that {place.model.file} has"
