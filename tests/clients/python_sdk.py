"""The Python SDK behind the tests' common interface."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
from anthropic import beta_tool
from pydantic import ValidationError

from tests.clients.sdk import ANY_REQUEST, API_KEY, SDKError
from tests.clients.shapes import SHAPES

Params = dict[str, Any]


class PythonSDK:
    """The synchronous client, one call at a time."""

    name = "python"

    def call(
        self, op: str, base_url: str, params: object = None, *, api_key: str = API_KEY, max_retries: int = 0
    ) -> dict[str, Any]:
        """The result of one operation."""
        # Loopback needs no certificates, and reading them takes most of a call's time.
        http = anthropic.DefaultHttpxClient(verify=False)
        with anthropic.Anthropic(
            base_url=base_url, api_key=api_key, max_retries=max_retries, http_client=http
        ) as client:
            return _guarded(op, client, params or {})

    def read_streams(self, streams: Iterable[bytes]) -> list[dict[str, Any]]:
        """The final message that the SDK makes of each stream of bytes: `{"ok": ...}` or `{"error": ...}`."""
        return [self._read(stream) for stream in streams]

    def _read(self, stream: bytes) -> dict[str, Any]:
        headers = {"content-type": "text/event-stream"}
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=stream))
        http = httpx2.Client(transport=transport)
        with anthropic.Anthropic(
            base_url="http://127.0.0.1:9", api_key=API_KEY, max_retries=0, http_client=http
        ) as client:
            try:
                return {"ok": _guarded("stream", client, dict(ANY_REQUEST))["message"]}
            except SDKError as error:
                return {"error": {"name": error.name, "message": error.message, "type": error.type}}


def _guarded(op: str, client: anthropic.Anthropic, params: Any) -> dict[str, Any]:
    try:
        return _OPERATIONS[op](client, params)
    except anthropic.APIStatusError as error:
        described = {
            "name": type(error).__name__,
            "message": error.message,
            "status": error.status_code,
            "type": error.type,
            "request_id": error.request_id,
            "body": error.body,
        }
        raise SDKError(described) from error
    except (anthropic.AnthropicError, ValidationError) as error:
        raise SDKError({"name": type(error).__name__, "message": str(error)}) from error


def _as_arguments(params: Params) -> Params:
    # Sampling parameters are no arguments of this SDK any more, and threads are beta; both go as extra body.
    names = ("temperature", "top_p", "top_k", "thread")
    extra = {name: params[name] for name in names if name in params}
    return {**{name: params[name] for name in params if name not in extra}, "extra_body": extra}


def _create(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    raw = client.messages.with_raw_response.create(**_as_arguments(params))
    message = raw.parse()
    return {
        "message": message.to_dict(mode="json"),
        "request_id": message._request_id,
        "headers": {name.lower(): value for name, value in raw.headers.items()},
    }


def _stream(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    text = thinking = ""
    events: list[str] = []
    with client.messages.stream(**_as_arguments(params)) as stream:
        for event in stream:
            if event.type == "text":
                text += event.text
            elif event.type == "thinking":
                thinking += event.thinking
            elif event.type not in {"input_json", "signature"}:
                events.append(event.type)
        message = stream.get_final_message().to_dict(mode="json")
        return {
            "message": message,
            "request_id": stream.request_id,
            "text": text,
            "thinking": thinking,
            "events": events,
        }


def _raw_stream(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    raw = client.messages.with_raw_response.create(**_as_arguments(params), stream=True)
    with raw.parse() as stream:
        events = [event.to_dict(mode="json") for event in stream]
    return {"events": events, "headers": {name.lower(): value for name, value in raw.headers.items()}}


def _abandon(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    with client.messages.stream(**params) as stream:
        return {"text": next(iter(stream.text_stream)), "aborted": True}


def sent_by(client: anthropic.Anthropic | anthropic.AsyncAnthropic) -> list[dict[str, Any]]:
    """The bodies that a client sends from here on."""
    sent: list[dict[str, Any]] = []
    send = client._client.build_request

    def build_request(*args: Any, **kwargs: Any) -> httpx2.Request:
        request = send(*args, **kwargs)
        sent.append(json.loads(request.read()))
        return request

    client._client.build_request = build_request  # type: ignore[method-assign]  # it only listens
    return sent


def _tool_runner(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    sent = sent_by(client)

    @beta_tool
    def get_weather(city: str, unit: str = "c") -> str:
        """Weather for a city."""
        calls.append({"city": city, "unit": unit})
        return "21 degrees"

    more = params.pop("more_tools", [])
    runner: Any = client.beta.messages.tool_runner(**params, tools=[get_weather, *more])
    if params.get("stream"):
        message = [stream.get_final_message() for stream in runner][-1]
    else:
        message = runner.until_done()
    return {"message": message.to_dict(mode="json"), "calls": calls, "sent": sent}


def _edited(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    beta = client.beta.messages
    with beta.stream(**params) as stream:
        streamed = stream.get_final_message()
    counted = beta.count_tokens(**{name: params[name] for name in params if name != "max_tokens"})
    answers = {"message": beta.create(**params), "streamed": streamed, "counted": counted}
    return {name: found.to_dict(mode="json") for name, found in answers.items()}


def _parse(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    params = dict(params)
    kind, streamed = SHAPES[params.pop("shape", "person")], params.pop("stream", False)
    sent = sent_by(client)
    message: Any
    if streamed:
        with client.messages.stream(**_as_arguments(params), output_format=kind) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.parse(**_as_arguments(params), output_format=kind)
    parsed = message.parsed_output
    return {
        "message": message.to_dict(mode="json"),
        "parsed": parsed.model_dump(mode="json", exclude_unset=True) if parsed else None,
        "sent": sent,
    }


def _count_tokens(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    return client.messages.count_tokens(**params).to_dict(mode="json")


def _models(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    return {"models": [model.to_dict(mode="json") for model in client.models.list(**params)]}


def _model(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    return {"model": client.models.retrieve(params["id"]).to_dict(mode="json")}


def _files(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    calls: Any = client.beta.files if params["beta"] else client.files
    file = (params["name"], params["text"].encode(), params["type"])
    uploaded = calls.upload(file=file, expires_in_seconds=3600)
    second = calls.upload(file=file)
    listed = [known.id for known in calls.list(limit=1)]
    some = [known.id for known in calls.list(ids=[uploaded.id, "file_none"])]
    raw = calls.with_raw_response.retrieve_metadata(uploaded.id)
    content = calls.download(uploaded.id).read().decode()
    deleted = [calls.delete(file_id).to_dict() for file_id in (uploaded.id, second.id)]
    return {
        "uploaded": uploaded.to_dict(mode="json"),
        "second": second.to_dict(mode="json"),
        "listed": listed,
        "some": some,
        "retrieved": raw.parse().to_dict(mode="json"),
        "request_id": raw.headers["request-id"],
        "content": content,
        "deleted": deleted,
    }


def _batches(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    calls: Any = client.beta.messages.batches if params["beta"] else client.messages.batches
    raw = calls.with_raw_response.create(requests=params["requests"])
    created = ended = raw.parse()
    while ended.processing_status != "ended":
        time.sleep(0.02)
        ended = calls.retrieve(created.id)
    return {
        "created": created.to_dict(mode="json"),
        "request_id": raw.headers["request-id"],
        "ended": ended.to_dict(mode="json"),
        "listed": [known.id for known in calls.list(limit=1)],
        "results": [result.to_dict(mode="json") for result in calls.results(created.id)],
        "deleted": calls.delete(created.id).to_dict(),
    }


def _cancel_batch(client: anthropic.Anthropic, params: Params) -> dict[str, Any]:
    calls: Any = client.beta.messages.batches if params["beta"] else client.messages.batches
    created = calls.create(requests=params["requests"])
    return {"canceled": calls.cancel(created.id).to_dict(mode="json")}


_OPERATIONS = {
    "files": _files,
    "batches": _batches,
    "cancel_batch": _cancel_batch,
    "create": _create,
    "stream": _stream,
    "raw_stream": _raw_stream,
    "abandon": _abandon,
    "tool_runner": _tool_runner,
    "edited": _edited,
    "parse": _parse,
    "count_tokens": _count_tokens,
    "models": _models,
    "model": _model,
}
