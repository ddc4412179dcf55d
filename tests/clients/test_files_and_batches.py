"""Files and batches as the official SDKs use them, stable and beta, against a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dragoman.engines.scripted import Hang, Script, answer
from dragoman.wire.openai import ChatRequest
from tests.clients.conftest import Serve
from tests.clients.sdk import API_KEY, SDK, SDKError

pytestmark = pytest.mark.clients
BOTH = pytest.mark.parametrize("beta", [False, True], ids=["stable", "beta"])


def echo(request: ChatRequest) -> Script:
    return answer(f"echo {request.messages[-1].content}")


def requests_of(*names: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": name,
            "params": {
                "model": "scripted",
                "max_tokens": 10,
                "messages": [{"role": "user", "content": name}],
                **fields,
            },
        }
        for name in names
    ]


@BOTH
def test_a_file_from_upload_to_deletion(sdk: SDK, serve: Serve, tmp_path: Path, beta: bool) -> None:
    url = serve([], state_dir=str(tmp_path), api_keys={"ann": API_KEY}).url
    text = "Dragomans were interpreters, très utiles."
    got = sdk.call("files", url, {"beta": beta, "name": "notes.txt", "text": text, "type": "text/plain"})
    uploaded = got["uploaded"]
    assert (uploaded["filename"], uploaded["mime_type"]) == ("notes.txt", "text/plain")
    assert uploaded["size_bytes"] == len(text.encode())
    assert uploaded["downloadable"] is True
    assert uploaded["expires_at"] > uploaded["created_at"]
    assert got["second"]["expires_at"] is None
    assert got["listed"] == [got["second"]["id"], uploaded["id"]]
    assert got["some"] == [uploaded["id"]]
    assert got["retrieved"] == uploaded
    assert got["request_id"].startswith("req_")
    assert got["content"] == text
    assert got["deleted"] == [
        {"id": uploaded["id"], "type": "file_deleted"},
        {"id": got["second"]["id"], "type": "file_deleted"},
    ]


def test_a_full_store_has_an_error_class_of_its_own(sdk: SDK, serve: Serve, tmp_path: Path) -> None:
    url = serve([], state_dir=str(tmp_path), files={"quota_bytes": 3}).url
    file = {"beta": False, "name": "a.txt", "text": "four", "type": "text/plain"}
    with pytest.raises(SDKError) as caught:
        sdk.call("files", url, file)
    assert (caught.value.name, caught.value.status) == ("StorageQuotaExceededError", 400)


@BOTH
def test_a_batch_from_creation_to_deletion(sdk: SDK, serve: Serve, tmp_path: Path, beta: bool) -> None:
    url = serve(echo, state_dir=str(tmp_path), api_keys={"ann": API_KEY}).url
    bad = requests_of("bad", temperature=9)
    got = sdk.call("batches", url, {"beta": beta, "requests": [*requests_of("one", "two"), *bad]})
    created, ended = got["created"], got["ended"]
    assert (created["type"], created["request_counts"]["processing"]) == ("message_batch", 3)
    assert got["request_id"].startswith("req_")
    assert got["listed"] == [created["id"]]
    assert (ended["request_counts"]["succeeded"], ended["request_counts"]["errored"]) == (2, 1)
    results = {line["custom_id"]: line["result"] for line in got["results"]}
    assert results["two"]["type"] == "succeeded"
    assert results["two"]["message"]["content"][0]["text"] == "echo two"
    assert results["two"]["message"]["usage"]["service_tier"] == "batch"
    assert results["bad"]["type"] == "errored"
    assert results["bad"]["error"]["error"]["type"] == "invalid_request_error"
    assert got["deleted"] == {"id": created["id"], "type": "message_batch_deleted"}


@BOTH
def test_a_batch_is_canceled(sdk: SDK, serve: Serve, tmp_path: Path, beta: bool) -> None:
    url = serve(lambda _: Script(steps=[Hang()]), state_dir=str(tmp_path)).url
    got = sdk.call("cancel_batch", url, {"beta": beta, "requests": requests_of("one", "two")})
    assert got["canceled"]["processing_status"] == "canceling"
    assert got["canceled"]["cancel_initiated_at"] is not None


def test_a_batch_that_cannot_be_is_refused(sdk: SDK, serve: Serve, tmp_path: Path) -> None:
    url = serve([], state_dir=str(tmp_path)).url
    with pytest.raises(SDKError, match=r"requests\.1\.custom_id") as caught:
        sdk.call("batches", url, {"beta": False, "requests": requests_of("one", "one")})
    assert caught.value.status == 400
