"""Where the keys that sign thinking come from."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dragoman.errors import SettingsError
from dragoman.service import keys, signature_keys
from dragoman.settings import Settings

A, B = bytes(range(32)), bytes(32)


def spelled(key: bytes) -> str:
    """A key in base64."""
    return base64.b64encode(key).decode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (A.hex(), [A]),
        (spelled(A), [A]),
        (f" {spelled(A)} , {B.hex().upper()},", [A, B]),
    ],
)
def test_keys_of_the_settings(text: str, wanted: list[bytes]) -> None:
    assert signature_keys(Settings(signature_key=text)) == wanted


@pytest.mark.parametrize("text", ["short", A.hex()[:-2], spelled(A + b"x"), ",", "pass phrase " * 4])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError, match="must hold keys of 32 bytes") as caught:
        signature_keys(Settings(signature_key=text))
    assert text.strip(",") == "" or text not in caught.value.message


def test_without_one_a_key_is_made_once_and_only_the_user_reads_it(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path / "a" / "b"))
    first = signature_keys(settings)
    assert [len(key) for key in first] == [32]
    assert signature_keys(settings) == first
    (file,) = (tmp_path / "a" / "b").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert signature_keys(Settings(state_dir=str(tmp_path / "other"))) != first


def test_an_old_key_may_stay_in_the_file_behind_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "signature.key").write_text(f"{spelled(A)}\n{spelled(B)}\n", encoding="ascii")
    assert signature_keys(Settings(state_dir=str(tmp_path))) == [A, B]


@pytest.mark.parametrize("content", ["", "\n", "é", "not a key"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "signature.key"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        signature_keys(Settings(state_dir=str(tmp_path)))
    assert str(file) in caught.value.message


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="set state_dir to a folder that can be written"):
        signature_keys(Settings(state_dir=str(tmp_path / "file" / "state")))


def test_who_comes_second_takes_the_key_of_the_first(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path))
    first = signature_keys(settings)
    keys._make(tmp_path / keys.FILE_NAME)
    assert signature_keys(settings) == first
    assert len(list(tmp_path.iterdir())) == 1


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from dragoman.settings import Settings; "
        "from dragoman.service.keys import signature_keys; "
        "sys.stdin.read(1); print(signature_keys(Settings(state_dir=sys.argv[1]))[0].hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "state")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = {process.communicate("x", timeout=60)[0] for process in processes}
    assert len(said) == 1
    assert len(list((tmp_path / "state").iterdir())) == 1
