"""Images on a real multimodal engine: llama.cpp with the parrot and the eye, embedded and by its address."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from dragoman.engines.base import InferenceEngine
from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import EngineUnavailableError
from dragoman.settings import EngineEntry, LocalEngine
from tests.contract.conftest import llamacpp_server
from tests.models.eye import TOKENS, write_eye
from tests.server.http import asked, error_of
from tests.support import answers
from tests.support.dialogues import CONTEXT, MODEL, PARROT
from tests.support.pdfs import SCAN, document, pdf
from tests.support.serving import running_server

pytestmark = pytest.mark.engine

QUESTION = {"type": "text", "text": "Say hello."}
HELLO = "Hello! How can I help you today?"
CALL = {"type": "tool_use", "id": "toolu_a", "name": "Read", "input": {}}
READ = {"name": "Read", "input_schema": {"type": "object"}}


def picture(color: str = "red", size: tuple[int, int] = (60, 60), kind: str = "PNG") -> dict[str, Any]:
    """An image block."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    data = base64.b64encode(out.getvalue()).decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": f"image/{kind.lower()}", "data": data},
    }


def embedded(eye: Path) -> LlamaCppInferenceEngine:
    """llama.cpp inside this process, with an eye."""
    local = LocalEngine(context=CONTEXT, threads=1, mmproj=str(eye))
    return LlamaCppInferenceEngine(str(PARROT / "parrot.gguf"), local=local)


@contextmanager
def embedded_engine(eye: Path) -> Iterator[InferenceEngine]:
    yield embedded(eye)


@contextmanager
def remote_engine(eye: Path) -> Iterator[InferenceEngine]:
    with llamacpp_server(str(eye)) as address:
        yield RemoteInferenceEngine(EngineEntry(url=address, models=(MODEL,)))


@pytest.fixture(scope="module", params=[embedded_engine, remote_engine], ids=["embedded", "llamacpp"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server over each engine that sees."""
    eye = write_eye(tmp_path_factory.mktemp("eye") / "eye.gguf")
    with ExitStack() as stack:
        engine = stack.enter_context(request.param(eye))
        yield stack.enter_context(running_server(engine))


def turn(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def read(result: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A call and its result, as of Claude Code's tool that reads files."""
    answer = {"type": "tool_result", "tool_use_id": "toolu_a", "content": result}
    return [*turn(QUESTION), {"role": "assistant", "content": [CALL]}, *turn(answer, QUESTION)]


def counted(url: str, **request: Any) -> int:
    response = httpx.post(f"{url}/v1/messages/count_tokens", json={"model": MODEL, **request}, timeout=30)
    assert response.status_code == 200, response.text
    tokens: int = response.json()["input_tokens"]
    return tokens


def billed(message: dict[str, Any]) -> int:
    usage = message["usage"]
    return int(usage["input_tokens"] + (usage["cache_read_input_tokens"] or 0))


CASES: dict[str, tuple[list[dict[str, Any]], int]] = {
    "none": (turn(QUESTION), 0),
    "one": (turn(picture(), QUESTION), 1),
    "after the text": (turn(QUESTION, picture()), 1),
    "two, of other sizes and kinds": (turn(picture(), picture("blue", (300, 40), "JPEG"), QUESTION), 2),
    "in a result": (read([{"type": "text", "text": "Read:"}, picture()]), 1),
    "pages of a PDF": (turn(document(pdf("One", SCAN)), QUESTION), 2),
    "pages of a PDF in a result": (read([document(pdf("One", SCAN, "Three"))]), 3),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_count_equals_the_bill(url: str, name: str, stream: bool) -> None:
    messages, _ = CASES[name]
    request = {"messages": messages, "tools": [READ]}
    response = asked(url, **request, model=MODEL, max_tokens=20, stream=stream)
    assert response.status_code == 200, response.text
    message = answers.read(response.content) if stream else response.json()
    assert counted(url, **request) == billed(message)


def test_an_image_takes_its_place_in_the_prompt(url: str) -> None:
    plain = counted(url, messages=turn(QUESTION))
    for count in (1, 2, 3):
        more = counted(url, messages=turn(*[picture()] * count, QUESTION)) - plain
        assert count * TOKENS <= more <= count * (TOKENS + 4)
    (answer,) = asked(url, model=MODEL, messages=turn(picture(), QUESTION), temperature=0).json()["content"][
        -1:
    ]
    assert answer["text"] == HELLO


def test_another_image_of_the_same_size_is_another_prompt(url: str) -> None:
    """Nothing of an image comes from the cache of another one, though both are as long."""

    def cached(color: str) -> int:
        response = asked(url, model=MODEL, messages=turn(picture(color), QUESTION), max_tokens=1)
        return int(response.json()["usage"]["cache_read_input_tokens"])

    cached("green")
    again, other = cached("green"), cached("black")
    assert again > TOKENS > other


def test_what_is_no_image_is_a_400(url: str) -> None:
    block = picture()
    block["source"]["data"] = base64.b64encode(b"\x89PNG\r\n\x1a\nbut no image").decode()
    response = asked(url, model=MODEL, messages=turn(block, QUESTION))
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "make", [lambda path: write_eye(path, width=64), lambda path: path.write_bytes(b"no")]
)
async def test_an_eye_that_does_not_fit_is_told(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "eye.gguf")
    engine = embedded(tmp_path / "eye.gguf")
    with pytest.raises(EngineUnavailableError, match="cannot load"):
        await engine.start()
    await engine.aclose()
