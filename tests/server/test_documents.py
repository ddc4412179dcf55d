"""A server that gets PDF documents: what the engine is sent, limits, and what becomes of its processes."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ImagePart
from tests.server.conftest import Serve, Served
from tests.server.http import asked, eventually, refused
from tests.support.fake_openai import FakeOpenAI, reply, whole
from tests.support.pdfs import SCAN, document, jpeg_2000, pdf, picture_object, slow
from tests.support.serving import dragoman_process
from tests.support.translation import PNG

SEEING = EngineCapabilities(images=True, counting=True)
BLIND = EngineCapabilities(counting=True)
TWO = pdf("One", "Two")
QUESTION = {"type": "text", "text": "What does it say?"}
TURN = [{"role": "user", "content": [document(TWO, title="T"), QUESTION]}]
CALL = {"type": "tool_use", "id": "toolu_a", "name": "Read", "input": {}}
READ = {"name": "Read", "input_schema": {"type": "object"}}


def in_a_result(data: bytes) -> list[dict[str, Any]]:
    """As Claude Code sends what it read."""
    content = [{"type": "text", "text": "PDF file read"}, document(data)]
    result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": content}
    return [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [result]},
    ]


def pids(served: Served) -> list[int]:
    return served.running.app.service.content.pdfs.pool.pids


def test_the_model_reads_the_pages(serve: Serve) -> None:
    served = serve(capabilities=BLIND)
    assert asked(served.url, messages=TURN).status_code == 200
    (message,) = served.engine.calls[0].request.messages
    assert isinstance(message.content, str)
    assert "One\nTwo" in message.content
    assert message.content.endswith("What does it say?")


def test_the_model_sees_the_pages(serve: Serve) -> None:
    served = serve(capabilities=SEEING)
    assert asked(served.url, messages=TURN).status_code == 200
    (message,) = served.engine.calls[0].request.messages
    assert isinstance(message.content, list)
    pages = [part for part in message.content if isinstance(part, ImagePart)]
    assert len(pages) == 2
    assert all(page.image_url.url.startswith("data:image/png;base64,") for page in pages)


def test_a_pdf_in_a_result_is_read(serve: Serve) -> None:
    served = serve(capabilities=BLIND)
    assert asked(served.url, messages=in_a_result(TWO), tools=[READ]).status_code == 200
    answer = served.engine.calls[0].request.messages[2]
    assert answer.role == "tool"
    assert "One\nTwo" in str(answer.content)


def test_a_pdf_in_a_result_is_seen(serve: Serve) -> None:
    served = serve(capabilities=SEEING)
    assert asked(served.url, messages=in_a_result(TWO), tools=[READ]).status_code == 200
    answer, pages = served.engine.calls[0].request.messages[2:]
    assert (answer.role, pages.role) == ("tool", "user")
    assert isinstance(pages.content, list)
    assert sum(isinstance(part, ImagePart) for part in pages.content) == 2


def kept(url: str, data: bytes, name: str, kind: str, **headers: str) -> str:
    """The id of a file that was uploaded."""
    form = {"file": (name, data, kind)}
    answer = httpx.post(f"{url}/v1/files", files=form, headers={"anthropic-version": "2023-06-01", **headers})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["id"]
    return found


def by_file(kind: str, file_id: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": kind, "source": {"type": "file", "file_id": file_id}}]}]


def test_uploaded_files_reach_the_model(serve: Serve, tmp_path: Path) -> None:
    served = serve(capabilities=SEEING, state_dir=str(tmp_path), documents={"pdf": "text"})
    red = kept(served.url, base64.b64decode(PNG), "red.png", "image/png")
    report = kept(served.url, TWO, "report.pdf", "application/pdf")
    note = kept(served.url, b"Milk, eggs.", "note.md", "text/markdown")
    for messages in (by_file("image", red), by_file("document", report), by_file("document", note)):
        answer = asked(served.url, messages=messages)
        assert answer.status_code == 200, answer.text
    seen, read, noted = (call.request.messages[0].content for call in served.engine.calls)
    assert [type(part) for part in seen or ()] == [ImagePart]
    assert "One\nTwo" in str(read)
    assert "Milk, eggs." in str(noted)


def test_a_file_of_another_key_is_not_there(serve: Serve, tmp_path: Path) -> None:
    served = serve(capabilities=SEEING, state_dir=str(tmp_path), api_keys={"ann": "key-a", "bob": "key-b"})
    note = kept(served.url, b"Milk, eggs.", "note.txt", "text/plain", **{"x-api-key": "key-a"})
    messages = by_file("document", note)
    body = {"model": "claude-test", "max_tokens": 9, "messages": messages}
    own, other = (
        httpx.post(f"{served.url}/v1/messages", json=body, headers={"x-api-key": key}, timeout=20)
        for key in ("key-a", "key-b")
    )
    assert (own.status_code, other.status_code) == (200, 404)
    error = other.json()["error"]
    assert error["type"] == "not_found_error"
    assert error["message"].startswith("messages.0.content.0.source.file_id: ")


def test_a_count_reads_the_pages_too(serve: Serve) -> None:
    served = serve(capabilities=BLIND)
    body = {"model": "claude-test", "messages": TURN}
    counted = httpx.post(f"{served.url}/v1/messages/count_tokens", json=body, timeout=20)
    assert counted.status_code == 200
    without = httpx.post(
        f"{served.url}/v1/messages/count_tokens",
        json={"model": "claude-test", "messages": [{"role": "user", "content": [QUESTION]}]},
        timeout=20,
    )
    assert counted.json()["input_tokens"] > without.json()["input_tokens"]


def test_the_next_turn_says_the_same_and_reads_nothing(serve: Serve) -> None:
    served = serve(capabilities=SEEING)
    asked(served.url, messages=TURN)
    for pid in pids(served):
        os.kill(pid, signal.SIGSTOP)
    more = [*TURN, {"role": "assistant", "content": "One, two."}, {"role": "user", "content": "Again?"}]
    try:
        assert asked(served.url, messages=more).status_code == 200
    finally:
        for pid in pids(served):
            os.kill(pid, signal.SIGCONT)
    first, second = (call.request.messages for call in served.engine.calls)
    assert second[:1] == first


def test_a_server_whose_workers_are_killed_goes_on(serve: Serve) -> None:
    served = serve(capabilities=BLIND)
    for number in range(3):
        turn = [{"role": "user", "content": [document(pdf(f"Page {number}"))]}]
        assert asked(served.url, messages=turn).status_code == 200
        for pid in pids(served):
            os.kill(pid, signal.SIGKILL)
    said = [str(call.request.messages[0].content) for call in served.engine.calls]
    assert all(f"Page {number}" in text for number, text in enumerate(said))


def test_a_document_that_takes_too_long_harms_no_other(serve: Serve) -> None:
    served = serve(capabilities=BLIND, documents={"seconds": 0.5})
    error = refused(served.url, messages=in_a_result(slow()), tools=[READ])
    assert error["message"] == (
        "messages.2.content.0.content.1.source.data: the PDF cannot be read: "
        "it takes longer than 0.5 s (documents.seconds)"
    )
    assert asked(served.url, messages=TURN).status_code == 200


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            pdf("One", "Two", sizes={2: (2384, 3370)}),
            "page 2 is 2384 x 3370 points large, and in 1200000 pixels",
        ),
        (
            pdf(SCAN, picture=picture_object(10**5, 10**5, b"")),
            "a picture on page 1 has 100000 x 100000 pixels",
        ),
        (
            pdf(SCAN, picture=picture_object(64, 64, jpeg_2000(30_000, 30_000), "JPXDecode")),
            "a picture on page 1 has 30000 x 30000 pixels, more than 150000000 (documents.max_image_pixels)",
        ),
    ],
)
def test_pages_that_cannot_be_drawn_harm_no_worker(serve: Serve, data: bytes, words: str) -> None:
    served = serve(capabilities=SEEING)
    asked(served.url, messages=TURN)
    started = pids(served)
    error = refused(served.url, messages=in_a_result(data))
    assert error["message"].startswith(
        f"messages.2.content.0.content.1.source.data: the PDF cannot be read: {words}"
    )
    assert "(documents.max_" in error["message"]
    assert pids(served) == started
    assert asked(served.url, messages=TURN).status_code == 200


def test_many_at_a_time(serve: Serve) -> None:
    served = serve(capabilities=BLIND)

    def ask(number: int) -> int:
        block = document(pdf(f"Page {number % 4}"))
        return asked(served.url, messages=[{"role": "user", "content": [block]}]).status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(ask, range(24))) == {200}
    said = [str(call.request.messages[0].content) for call in served.engine.calls]
    assert [sum(f"Page {number}" in text for text in said) for number in range(4)] == [6] * 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_end_of_the_server_ends_its_workers(number: signal.Signals) -> None:
    async with FakeOpenAI() as fake:
        fake.chat(reply(whole()))
        await asyncio.to_thread(serve_and_end, fake.url, number)


def serve_and_end(engine: str, number: signal.Signals) -> None:
    with dragoman_process("--engine", engine) as process:
        assert asked(process.url, messages=TURN).status_code == 200
        (worker,) = children(process.popen.pid)
        process.signal(number)
        process.ended()
    assert eventually(lambda: not is_running(worker))


def is_running(pid: int) -> bool:
    """Whether a process lives; one that nobody has asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that another one started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if file.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(file.parent.name))
    return found
