"""Claude Code reads a PDF: the model gets its pages with the result, and the same ones in the next turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.engines.scripted import answer
from dragoman.wire.openai import ChatRequest, ImagePart
from tests.clients.conftest import Serve
from tests.clients.test_claude_code import call, conversations
from tests.support.claude_code import Claude
from tests.support.pdfs import pdf

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def pictures(request: ChatRequest) -> list[str]:
    """The addresses of the images that the model sees."""
    contents = [turn.content for turn in request.messages if isinstance(turn.content, list)]
    return [part.image_url.url for content in contents for part in content if isinstance(part, ImagePart)]


@pytest.mark.parametrize(("pages", "images"), [("text", 0), ("images", 2)])
def test_a_pdf_is_read(serve: Serve, tmp_path: Path, pages: str, images: int) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(pdf("The sky is plaid", "and the sea is tartan"))
    played = [
        answer("", calls=[call("Read", file_path=str(file))]),
        answer("", calls=[call("Bash", command="echo once more", description="echo")]),
        answer("Plaid and tartan."),
    ]
    server = serve(conversations(REPORT=played), documents={"pdf": pages})
    run = Claude(server.url, tmp_path).run("Sum up the REPORT", tools=["Read", "Bash"])
    assert (run.returncode, run.text) == (0, "Plaid and tartan.")
    second, third = (call.request for call in server.calls[1:])
    assert third.messages[: len(second.messages)] == second.messages
    assert len(pictures(second)) == images
    said = str(second.messages)
    assert ("The sky is plaid\\nand the sea is tartan" in said) == (not images)
