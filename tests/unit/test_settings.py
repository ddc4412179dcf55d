"""Settings: the order of sources, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import SettingsError
from dragoman.settings import Settings, load_settings


def write(path: Path, text: str) -> Path:
    """A settings file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_set_is_the_open_door_on_loopback() -> None:
    settings = load_settings(environ={})
    assert (settings.host, settings.port, settings.api_keys, settings.engines) == ("127.0.0.1", 8484, {}, ())
    assert settings.aliases == {"claude-*": ""}


def test_later_sources_win_key_by_key(tmp_path: Path) -> None:
    file = write(tmp_path / "d.toml", 'port = 1\nmodel = "a"\n[timeouts]\nconnect = 1\nbody = 2\n')
    environ = {"DRAGOMAN_PORT": "2", "DRAGOMAN_TIMEOUTS__CONNECT": "3", "HOME": "/"}
    settings = load_settings(file, environ, {"port": 3})
    assert (settings.port, settings.model) == (3, "a")
    assert (settings.timeouts.connect, settings.timeouts.body) == (3.0, 2.0)


def test_tables_of_names_are_replaced_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "d.toml", '[aliases]\n"gpt-*" = "x"\n')
    assert load_settings(file, {}).aliases == {"gpt-*": "x"}
    assert load_settings(file, {"DRAGOMAN_ALIASES": '{"a": "b"}'}).aliases == {"a": "b"}


def test_the_environment_holds_lists_and_json() -> None:
    settings = load_settings(
        environ={
            "DRAGOMAN_ALLOWED_HOSTS": "a.example, b.example,",
            "DRAGOMAN_API_KEYS": '{"me": "k"}',
            "DRAGOMAN_ENGINES": '[{"url": "http://127.0.0.1:1", "dialect": "vllm"}]',
            "DRAGOMAN_STRICT": "true",
        }
    )
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.api_keys == {"me": "k"}
    assert settings.engines[0].dialect == "vllm"
    assert settings.strict is True


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DRAGOMAN_PROT": "1"}, "DRAGOMAN_PROT names no setting"),
        ({"DRAGOMAN_PORT": "1", "DRAGOMAN_PORT__X": "1"}, "DRAGOMAN_PORT__X names no setting"),
        ({"DRAGOMAN_TIMEOUTS": "1"}, "DRAGOMAN_TIMEOUTS names no setting"),
        ({"DRAGOMAN_PORT": "x"}, "DRAGOMAN_PORT: Expected `int`, got `str` - at `port`"),
        ({"DRAGOMAN_PORT": "70000"}, "`port`"),
        ({"DRAGOMAN_TIMEOUTS__BODY": "0"}, "`timeouts.body`"),
        ({"DRAGOMAN_TIMEOUTS__BODY": "inf"}, "`timeouts.body`"),
        ({"DRAGOMAN_TIMEOUTS__NONE": "1"}, "`none`"),
        ({"DRAGOMAN_ENGINES": "x"}, "DRAGOMAN_ENGINES must be JSON"),
        ({"DRAGOMAN_ENGINES": '[{"url": "127.0.0.1:80"}]'}, "`engines[0].url`"),
        ({"DRAGOMAN_API_KEYS": '{"me": ""}'}, "must not be empty"),
        ({"DRAGOMAN_API_KEYS": '{"a": "k", "b": "k"}'}, "the same key"),
        ({"DRAGOMAN_API_KEYS": '{"a": "k\\n"}'}, "the key of 'a' holds what no header can"),
        ({"DRAGOMAN_API_KEYS": '{"a": " k"}'}, "the key of 'a' holds what no header can"),
        ({"DRAGOMAN_ENGINES": '[{"url": "h:80"}]'}, "Expected an address like http://127.0.0.1:8000"),
        ({"DRAGOMAN_WORKERS": "0"}, "`workers`"),
        ({"DRAGOMAN_LOG_LEVEL": "loud"}, "`log_level`"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    assert words in caught.value.message


def test_the_source_of_a_wrong_setting_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "d.toml", 'port = "x"\n[timeouts]\nconnect = 1\n')
    wrong = {"DRAGOMAN_WORKERS": "2", "DRAGOMAN_TIMEOUTS__CONNECT": "no", "DRAGOMAN_PORT": "1"}
    for given, words in (
        ((file, {}, {}), f"settings: {file}: Expected `int`, got `str` - at `port`"),
        ((file, {"DRAGOMAN_WORKERS": "2"}, {}), f"settings: {file}: Expected `int`, got `str` - at `port`"),
        # what a later source makes good is not its fault
        ((file, wrong, {}), "settings: DRAGOMAN_TIMEOUTS__CONNECT: Expected `float`, got `str`"),
        (
            (file, {"DRAGOMAN_PORT": "1"}, {"port": -1}),
            "settings: the flags: Expected `int` >= 0 - at `port`",
        ),
        (
            (None, {"DRAGOMAN_LOCAL__NONE": "1"}, {}),
            "settings: DRAGOMAN_LOCAL__NONE: Object contains unknown",
        ),
        (
            (None, {"DRAGOMAN_ENGINES": '[{"url": "http://h", "x": 1}]'}, {}),
            "settings: DRAGOMAN_ENGINES: Object contains unknown",
        ),
        ((None, {}, {"api_keys": {"a": ""}}), "settings: the flags: api_keys: a name and its key must"),
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(*given)
        assert caught.value.message.startswith(words)
    assert load_settings(file, {"DRAGOMAN_PORT": "1"}).port == 1


@pytest.mark.parametrize("environ", [{}, {"DRAGOMAN_TIMEOUTS__CONNECT": "2"}])
@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "[[timeouts]]"])
def test_a_value_in_the_place_of_a_table_is_refused(
    value: str, environ: dict[str, str], tmp_path: Path
) -> None:
    text = value if value.startswith("[[") else f"timeouts = {value}"
    file = write(tmp_path / "d.toml", text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, environ)
    assert caught.value.message == f"settings: {file}: `timeouts` must be a table: [timeouts]"


def test_a_key_is_never_in_the_words_about_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"DRAGOMAN_API_KEYS": '{"a": "hidden", "b": "hidden"}'})
    assert "hidden" not in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(tmp_path / "none.toml", {})
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(write(tmp_path / "d.toml", "port = "), {})
    with pytest.raises(SettingsError, match="`prot`"):
        load_settings(write(tmp_path / "e.toml", "prot = 1"), {})


def test_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings(state_dir="here").state_path == Path("here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings().state_path == tmp_path / "dragoman"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert Settings().state_path == Path("~/.local/state/dragoman").expanduser()
