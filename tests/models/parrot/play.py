"""Plays the parrot's cases against a running OpenAI-style server: `python -m tests.models.parrot.play URL`.

Three ways for each case: whole, streamed, and raw (token ids into /v1/completions). Compared are
thinking, text (outer white space stripped), tool calls and finish reason. The standard library only:
any engine's venv can run it.
"""

import argparse
import json
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
LONGEST = 1200
"""Tokens that are asked for at most; the endless reply gets fewer."""


def post(url: str, key: str, body: dict[str, Any]) -> HTTPResponse:
    """The open answer to a JSON body; `ValueError` holds what an engine refused with."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", parts.path, json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise ValueError(f"{answer.status} {answer.read()!r}")
    return answer


def request(case: dict[str, Any]) -> dict[str, Any]:
    """The case as a Chat Completions request."""
    # vLLM reads "reasoning" of an earlier turn, llama.cpp "reasoning_content": send both.
    messages = [
        {**message, "reasoning": message["reasoning_content"]} if "reasoning_content" in message else message
        for message in case["messages"]
    ]
    if case["prefill"]:
        messages.append({"role": "assistant", "content": case["prefill"]})
    body = {"messages": messages, "temperature": 0, "max_tokens": limit(case)}
    if case["tools"]:
        body["tools"] = case["tools"]
    if not case["enable_thinking"]:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


def limit(case: dict[str, Any]) -> int:
    """The tokens to ask for."""
    return LONGEST if case["ends"] else len(case["reply_ids"])


def whole(base: str, key: str, case: dict[str, Any]) -> dict[str, Any]:
    """The answer in one piece."""
    choice = json.load(post(base + "/v1/chat/completions", key, request(case)))["choices"][0]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return {
        "thinking": message.get("reasoning") or message.get("reasoning_content") or "",
        "text": message.get("content") or "",
        "calls": [[call["name"], call["arguments"]] for call in calls],
        "finish": choice["finish_reason"],
    }


def streamed(base: str, key: str, case: dict[str, Any]) -> dict[str, Any]:
    """The answer put together from its deltas."""
    got: dict[str, Any] = {"thinking": "", "text": "", "finish": None}
    calls: dict[int, list[str]] = {}
    for raw in post(base + "/v1/chat/completions", key, {**request(case), "stream": True}):
        line = raw.decode("utf-8").strip()  # strict: half a character in a delta raises
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        for choice in json.loads(line[6:]).get("choices", []):
            delta = choice["delta"]
            got["thinking"] += delta.get("reasoning") or delta.get("reasoning_content") or ""
            got["text"] += delta.get("content") or ""
            got["finish"] = choice.get("finish_reason") or got["finish"]
            for piece in delta.get("tool_calls") or []:
                call = calls.setdefault(piece["index"], ["", ""])
                function = piece.get("function") or {}
                call[0] += function.get("name") or ""
                call[1] += function.get("arguments") or ""
    return {**got, "calls": [calls[index] for index in sorted(calls)]}


def difference(got: dict[str, Any], case: dict[str, Any]) -> str | None:
    """What differs from the script, None if nothing does."""
    if case["malformed"]:
        told = not got["calls"] and "<tool_call>" in got["text"]
        return None if told else f"(broken on purpose) {got}"
    calls = [[name, json.loads(arguments)] for name, arguments in got["calls"]]
    finish = "length" if not case["ends"] else "tool_calls" if case["calls"] else "stop"
    # Some engines give a begun answer back with its beginning, some without.
    texts = {case["text"], case["text"].removeprefix(case["prefill"]).strip()}
    right = (
        got["text"].strip() in texts,
        got["thinking"].strip() == case["thinking"],
        calls == [list(call) for call in case["calls"]],
        got["finish"] == finish,
    )
    return None if all(right) else str(got)


def by_chat(way: Callable[..., dict[str, Any]]) -> Callable[..., str | None]:
    """A player that asks for a chat completion."""
    return lambda base, key, case: difference(way(base, key, case), case)


def by_ids(base: str, key: str, case: dict[str, Any]) -> str | None:
    """A player that sends the prompt's token ids and compares the raw text."""
    body = {"prompt": case["prompt_ids"], "temperature": 0, "max_tokens": limit(case)}
    got = json.load(post(base + "/v1/completions", key, body))["choices"][0]["text"]
    return None if got == case["raw"].removesuffix("<|im_end|>") else repr(got)


WAYS = {"whole": by_chat(whole), "streamed": by_chat(streamed), "raw": by_ids}


def play(base: str, key: str, cases: list[dict[str, Any]]) -> None:
    """Play every case in every way and print what differs."""
    for name, way in WAYS.items():
        wrong = []
        for case in cases:
            try:
                found = way(base, key, case)
            except ValueError as error:
                found = str(error)
            if found is not None:
                wrong.append((case["name"], found))
        print(f"{name}: {len(cases) - len(wrong)}/{len(cases)}")
        for case_name, found in wrong:
            print(f"    {case_name}: {found[:300]}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    given = parser.parse_args()
    for file in ("dialogues.json", "beyond.json"):
        print(file)
        play(given.url.rstrip("/"), given.key, json.loads((HERE / file).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
