"""The history of what was typed, where the system keeps none, or cannot."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from dragoman.cli.chat.prompt import FILE_NAME, history, quiet_keys


def test_the_history_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    readline = pytest.importorskip("readline", reason="some systems have none")
    with history(tmp_path / "state"):
        readline.add_history("what nobody should read")
    file = tmp_path / "state" / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "what nobody should read" in file.read_text(encoding="utf-8")
    with history(tmp_path / "state"):
        assert readline.get_current_history_length() >= 1
    readline.clear_history()


def test_without_the_library_there_is_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    with history(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_history_that_cannot_be_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with history(tmp_path / "file"):
        pass
    assert f"the history cannot be kept in {tmp_path / 'file' / FILE_NAME}: " in capsys.readouterr().err


def test_keys_are_quiet_only_while_an_answer_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    import termios

    keyboard, inside = os.openpty()
    with open(inside, encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor has no path
        monkeypatch.setattr(sys, "stdin", terminal)
        echoes = [termios.tcgetattr(inside)[3] & termios.ECHO]
        with quiet_keys():
            echoes.append(termios.tcgetattr(inside)[3] & termios.ECHO)
        echoes.append(termios.tcgetattr(inside)[3] & termios.ECHO)
    os.close(keyboard)
    assert echoes == [termios.ECHO, 0, termios.ECHO]
