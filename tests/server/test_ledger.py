"""/ledger/sessions: rollouts of agents on the official SDK, recorded token by token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from dragoman.engines.scripted import Delay, Script, Scripts, answer, finish_chunk, text_chunk
from dragoman.engines.scripted_tokens import ScriptedTokenEngine, Vocabulary
from dragoman.wire.openai import ChatRequest
from tests.server.http import error_of
from tests.support.serving import running_server

KEYED = {"x-api-key": "ledger-secret"}


def say(request: ChatRequest) -> Script:
    """An answer that says how many turns the conversation has."""
    return answer(f"Turn {len(request.messages)}.", thinking="I count.")


class Here:
    """A server with a ledger, and what a trainer asks of it."""

    def __init__(self, url: str, engine: ScriptedTokenEngine) -> None:
        self.url = url
        self.engine = engine

    def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> httpx.Response:
        given = {"headers": KEYED, **more} | ({} if body is None else {"json": body})
        return httpx.request(method, f"{self.url}/ledger/sessions{path}", timeout=20, **given)

    def create(self, **body: Any) -> dict[str, Any]:
        made = self.call("POST", body=body)
        assert made.status_code == 200, made.text
        told: dict[str, Any] = made.json()
        return told

    def turns(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/{name}/turns").json()["turns"]
        return found

    def agent(self, key: str, **more: Any) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key=key, **{"max_retries": 0, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def served(folder: Path, scripts: Scripts = say, **settings: Any) -> Any:
    engine = ScriptedTokenEngine(scripts, vocabulary=VOCABULARY)
    settings.setdefault("ledger", {"path": str(folder), "key": "ledger-secret"})
    return engine, running_server(engine, **settings)


# The ids of a text are the same for all servers of a test.
VOCABULARY = Vocabulary()


@pytest.fixture
def here(folder: Path) -> Iterator[Here]:
    engine, server = served(folder, api_keys={"alice": "alice-secret"})
    with server as url:
        yield Here(url, engine)


def play(agent: anthropic.Anthropic, turns: int, messages: list[Any] | None = None) -> list[Any]:
    """An agent's loop: it sends its history again each time. Its connections end with it."""
    messages = messages or []
    with agent:
        for number in range(turns):
            messages.append({"role": "user", "content": f"Step {number}."})
            with agent.messages.stream(model="scripted", max_tokens=99, messages=messages) as stream:
                message = stream.get_final_message()
            messages.append({"role": "assistant", "content": message.content})
    return messages


def ids_of(turn: dict[str, Any]) -> tuple[list[int], list[int]]:
    (sample,) = turn["samples"]
    return sample["prompt_ids"], sample["sampled_ids"]


def test_a_rollout_from_its_key_to_its_tokens(here: Here) -> None:
    made = here.create(
        id="task-1/0", metadata={"task": "t1", "group": 3}, sampling={"temperature": 1.0, "seed": 7}
    )
    assert (made["id"], made["state"], made["metadata"]) == ("task-1/0", "open", {"task": "t1", "group": 3})
    # whatever headers it sends, its key names the session
    play(here.agent(made["key"], default_headers={"x-session-id": "other"}), 4)
    turns = here.turns("task-1/0")
    sequence: list[int] = []
    for turn, given in zip(turns, here.engine.prompts, strict=True):
        prompt, sampled = ids_of(turn)
        assert prompt == given
        assert prompt[: len(sequence)] == sequence
        assert len(turn["samples"][0]["logprobs"]) == len(sampled)
        assert (turn["state"], turn["delivered"], turn["session_evidence"]) == ("done", True, "rollout key")
        assert (turn["sampling"]["temperature"], turn["sampling"]["seed"]) == (1.0, 7)
        assert turn["asked"] == {"max_tokens": 99}
        sequence = prompt + sampled
    assert [call.request.temperature for call in here.engine.calls] == [1.0] * 4
    rewarded = here.call("POST", "/task-1/0/reward", {"value": 0.5}).json()
    assert rewarded["rewards"] == {"reward": 0.5}
    noted = here.call("POST", "/task-1/0/annotate", {"note": "solved", "metadata": {"steps": 4}}).json()
    assert (noted["notes"], noted["metadata"]["steps"]) == (["solved"], 4)
    assert here.call("POST", "/task-1/0/finish").json() == {"status": "finished"}
    with pytest.raises(anthropic.PermissionDeniedError, match="is finished: it takes no more requests"):
        play(here.agent(made["key"]), 1)
    assert here.call("POST", "/task-1/0/freeze").json()["state"] == "frozen"
    assert here.call("POST", "/task-1/0/reward", {"value": 1}).status_code == 409
    told = here.call("GET", "/task-1/0").json()
    assert (told["turns"], told["tokens"]) == (4, sum(len(ids_of(turn)[1]) for turn in turns))
    assert here.call("DELETE", "/task-1/0").json() == {"status": "dropped"}
    assert here.call("GET", "/task-1/0").status_code == 404


def test_the_text_of_each_turn_is_there(here: Here) -> None:
    made = here.create()
    play(here.agent(made["key"]), 2)
    found = here.call("GET", f"/{made['id']}/turns").json()
    texts = [found["messages"][digest] for digest in found["turns"][1]["path"]]
    assert [text.get("role") for text in texts] == [None, "user", "assistant", "user"]
    assert texts[2]["content"][1]["text"].strip() == "Turn 1."
    # each message once: the head, two questions, two answers
    assert len(found["messages"]) == 5


def test_a_group_of_parallel_rollouts_is_as_many_samples(here: Here) -> None:
    made = [here.create(metadata={"group": "g"}) for _ in range(16)]

    async def rollout(key: str) -> None:
        agent = anthropic.AsyncAnthropic(base_url=here.url, api_key=key, max_retries=0)
        same: Any = [{"role": "user", "content": "The same task."}]
        await agent.messages.create(model="scripted", max_tokens=99, messages=same)
        await agent.close()

    async def group() -> None:
        await asyncio.gather(*(rollout(one["key"]) for one in made))

    asyncio.run(group())
    assert len(here.engine.calls) == 16
    turns = [here.turns(one["id"]) for one in made]
    assert [len(each) for each in turns] == [1] * 16
    assert [each[0]["replay_of"] for each in turns] == [""] * 16


@pytest.mark.parametrize(
    ("budget", "made", "words"),
    [({"turns": 2}, 2, "2 turns"), ({"tokens": 20}, 2, "20 tokens"), ({"seconds": 0}, 0, "0 seconds")],
)
def test_a_budget_ends_the_agent(here: Here, budget: dict[str, Any], made: int, words: str) -> None:
    session = here.create(budget=budget)
    messages = play(here.agent(session["key"]), made)
    with pytest.raises(anthropic.PermissionDeniedError, match=f"has used its {words}") as caught:
        play(here.agent(session["key"], max_retries=5), 1, messages)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(here.engine.calls) == made


def test_a_session_goes_on_after_a_restart(folder: Path) -> None:
    engine, server = served(folder)
    with server as url:
        first = Here(url, engine)
        made = first.create(id="s")
        messages = play(first.agent(made["key"]), 2)
        (*_, last) = first.turns("s")
    engine, server = served(folder)
    with server as url:
        again = Here(url, engine)
        play(again.agent(made["key"]), 1, messages)
        turns = again.turns("s")
    assert [turn["state"] for turn in turns] == ["done"] * 3
    prompt, _ = ids_of(turns[2])
    recorded = [*ids_of(last)[0], *ids_of(last)[1]]
    assert prompt[: len(recorded)] == recorded
    assert turns[2]["samples"][0]["base"] == last["id"]


def test_finishing_waits_for_what_runs(folder: Path) -> None:
    slow = Script(steps=[text_chunk("One"), Delay(1.0), text_chunk(" two"), finish_chunk("stop")])
    engine, server = served(folder, lambda _request: slow)
    with server as url:
        here = Here(url, engine)
        made = here.create(id="s")

        async def both() -> tuple[Any, dict[str, Any], dict[str, Any], int]:
            agent = anthropic.AsyncAnthropic(base_url=url, api_key=made["key"], max_retries=0)
            same: Any = [{"role": "user", "content": "Hi"}]
            running = asyncio.create_task(
                agent.messages.create(model="scripted", max_tokens=99, messages=same)
            )
            await asyncio.sleep(0.4)
            early = await asyncio.to_thread(here.call, "POST", "/s/finish", {"seconds": 0})
            freeze = await asyncio.to_thread(here.call, "POST", "/s/freeze")
            late = await asyncio.to_thread(here.call, "POST", "/s/finish", {"seconds": 10})
            message = await running
            await agent.close()
            return message, early.json(), late.json(), freeze.status_code

        message, early, late, freeze = asyncio.run(both())
        assert (early, late, freeze) == ({"status": "running"}, {"status": "finished"}, 409)
        assert message.content[0].text == "One two"
        assert [turn["delivered"] for turn in here.turns("s")] == [True]


def test_sessions_are_listed_in_pages(here: Here) -> None:
    names = [here.create(id=f"s{number}")["id"] for number in range(5)]
    first = here.call("GET", "?limit=3").json()
    rest = here.call("GET", f"?limit=3&before={first['next']}").json()
    assert [one["id"] for one in first["sessions"] + rest["sessions"]] == names[::-1]
    assert rest["next"] is None


# ---- who may ---------------------------------------------------------------------------------------------


def test_only_the_ledgers_key_opens_it(here: Here) -> None:
    made = here.create(id="s")
    for key in ("alice-secret", made["key"], "wrong"):
        assert here.call("GET", headers={"x-api-key": key}).status_code == 401
    assert here.call("GET", headers={}).status_code == 401
    # nor does it open the rest
    with pytest.raises(anthropic.AuthenticationError):
        play(here.agent("ledger-secret"), 1)


def test_a_key_of_a_session_that_is_none_is_refused(here: Here) -> None:
    made = here.create(id="s")
    here.call("DELETE", "/s")
    with pytest.raises(anthropic.NotFoundError, match="there is no session 's'"):
        play(here.agent(made["key"]), 1)
    with pytest.raises(anthropic.AuthenticationError):
        play(here.agent(made["key"][:-2]), 1)


def test_other_calls_are_recorded_under_their_own_keys(here: Here) -> None:
    play(here.agent("alice-secret", default_headers={"x-session-id": "mine"}), 2)
    listed = here.call("GET").json()["sessions"]
    told = [(one["id"], one["scope"], one["turns"], one["key"]) for one in listed]
    assert told == [("mine", "alice", 2, "")]


@pytest.mark.parametrize(
    ("asked", "body", "status", "words"),
    [
        ("POST ", {"unknown": 1}, 400, "unknown"),
        ("POST ", {"budget": {"turns": "x"}}, 400, "budget.turns"),
        ("POST ", {"id": "taken"}, 409, "there is a session 'taken' already"),
        ("GET /absent", None, 404, "no session 'absent'"),
        ("GET /absent/turns", None, 404, "no session 'absent'"),
        ("POST /absent/reward", {"value": 1}, 404, "no session 'absent'"),
        ("POST /taken/reward", {"value": "x"}, 400, "value"),
        ("POST /taken/finish", {"seconds": -1}, 400, "seconds"),
        ("DELETE /absent", None, 404, "no session 'absent'"),
        ("GET ?limit=x", None, 400, "limit"),
        ("GET ?limit=0", None, 400, "limit"),
    ],
)
def test_mistakes_are_named(here: Here, asked: str, body: Any, status: int, words: str) -> None:
    here.create(id="taken")
    method, path = asked.split(" ")
    got = here.call(method, path, body)
    assert got.status_code == status
    assert words in error_of(got)["message"]


def test_without_a_key_there_is_no_such_path(folder: Path) -> None:
    engine, server = served(folder, ledger={"path": str(folder)})
    with server as url:
        assert Here(url, engine).call("GET").status_code == 404
        play(anthropic.Anthropic(base_url=url, api_key="any", max_retries=0), 1)
    assert (folder / "ledger.sqlite3").exists()
