"""The simulator of fleets: what comes out of it can be checked without believing it."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fleet.__main__ import main, possible
from bench.fleet.cache import BLOCK, PrefixCache, Prompt
from bench.fleet.engines import Engine, Hardware
from bench.fleet.figures import Figures
from bench.fleet.pattern import Call, Conversation, Pattern, load
from bench.fleet.policies import POLICIES, Modulo, Policy
from bench.fleet.sessions import Session, Shape, calls, drawn
from bench.fleet.world import Plan, World

SHAPE = Shape(sessions=80, within=300.0)
PLAN = Plan(engines=8, failures=2, joins=2, within=300.0, hardware=Hardware(capacity=200_000))
SEED = 3


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return drawn(load(), SHAPE, SEED)


def run(policy: str, sessions: list[Session], plan: Plan = PLAN) -> Figures:
    return World(plan, sessions, POLICIES[policy], SEED).run()


@pytest.fixture(scope="module")
def figures(sessions: list[Session]) -> dict[str, Figures]:
    return {name: run(name, sessions) for name in POLICIES}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_call_is_answered_once_whatever_dies(
    policy: str, sessions: list[Session], figures: dict[str, Figures]
) -> None:
    steps = [step for session in sessions for step in calls(session)]
    assert figures[policy].calls == len(steps)
    assert figures[policy].prompt_tokens == sum(step.prompt.tokens for step in steps)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_finds_more_than_there_is(
    policy: str, sessions: list[Session], figures: dict[str, Figures]
) -> None:
    assert 0 < figures[policy].hit_rate <= possible(sessions, SHAPE.window) < 1


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_arguments_give_equal_figures(
    policy: str, sessions: list[Session], figures: dict[str, Figures]
) -> None:
    assert drawn(load(), SHAPE, SEED) == sessions
    assert run(policy, sessions) == figures[policy]


def test_who_keeps_sessions_together_finds_more_of_them_in_the_caches(figures: dict[str, Figures]) -> None:
    found = {name: each.hit_rate for name, each in figures.items()}
    assert min(found["dragoman"], found["prefix tree"]) > 2 * max(
        found["round robin"], found["random"], found["least loaded"]
    )


def test_the_bound_spreads_the_load(figures: dict[str, Figures]) -> None:
    assert figures["dragoman"].peak < figures["without the bound"].peak
    assert figures["dragoman"].wait(0.99) < figures["without the bound"].wait(0.99)


def test_who_knows_every_queue_waits_least(figures: dict[str, Figures]) -> None:
    waits = {name: sum(each.waits) for name, each in figures.items()}
    assert min(waits, key=lambda name: waits[name]) == "oracle"


def test_sessions_stay_where_nothing_drives_them_away(sessions: list[Session]) -> None:
    calm = run("without the bound", sessions, Plan(engines=8, failures=0, joins=0))
    assert (calm.moves, calm.forced, calm.asked_again) == (0, 0, 0)


def test_an_engine_that_joins_moves_almost_all_sessions_by_modulo_and_its_share_by_ours() -> None:
    before = {name: Engine(name, Hardware()) for name in map(str, range(1000, 1050))}
    after = {**before, "1050": Engine("1050", Hardware())}
    keys = [f"s{number}" for number in range(1000)]
    prompt = Prompt("main", 0, "c", 100)

    def moved(policy: Policy) -> int:
        return sum(
            policy.place(before, key, prompt, 0.0) != policy.place(after, key, prompt, 0.0) for key in keys
        )

    assert moved(Modulo()) > 900
    assert moved(POLICIES["without the bound"](Hardware())) < 50


def test_replicas_agree_on_a_session_while_no_engine_is_over_the_bound(sessions: list[Session]) -> None:
    roomy = Plan(engines=8, failures=0, joins=0)
    found = [
        World(msgspec.structs.replace(roomy, replicas=number), sessions[:3], POLICIES["dragoman"], SEED).run()
        for number in (1, 3)
    ]
    assert [each.moves for each in found] == [0, 0]


def test_replicas_that_do_not_agree_lose_some_of_what_one_would_find(sessions: list[Session]) -> None:
    one, three = (
        run("dragoman", sessions, msgspec.structs.replace(PLAN, replicas=count)) for count in (1, 3)
    )
    assert 0.8 * one.hit_rate < three.hit_rate < one.hit_rate


def test_an_engine_that_dies_gives_its_calls_to_others() -> None:
    pattern = Pattern("nobody", "none", (Conversation("main", 0, (Call(50_000, 1_000),)),))
    plan = Plan(engines=2, failures=1, joins=0, within=10.0)
    found = World(
        plan, drawn(pattern, Shape(sessions=50, rounds=1, within=1.0), 1), POLICIES["round robin"], 1
    ).run()
    assert (found.calls, found.asked_again > 0) == (50, True)


@given(st.integers(0, 2**32), st.integers(2_000, 10_000))
def test_a_cache_keeps_within_its_capacity_and_holds_what_came_last(seed: int, capacity: int) -> None:
    random = Random(seed)
    cache = PrefixCache(capacity)
    for _ in range(50):
        shared = random.choice([0, 160, 500])
        tokens = random.randint(shared + 1, 2_000)
        prompt = Prompt(f"kind {shared}", shared, f"{shared}/{random.randint(0, 9)}", tokens)
        cache.keep(prompt)
        assert cache.tokens <= capacity
        assert cache.match(prompt) == (tokens - 1) // BLOCK * BLOCK


def test_a_cache_forgets_the_longest_unused_first_and_its_end_before_its_beginning() -> None:
    cache = PrefixCache(1_000)
    old, new = Prompt("main", 160, "old", 560), Prompt("main", 160, "new", 560)
    cache.keep(old)
    cache.keep(new)
    assert (cache.match(new), cache.match(old), cache.tokens) == (544, 544, 960)
    cache.keep(Prompt("main", 160, "third", 360))
    assert (cache.match(new), cache.match(old)) == (544, 400)


def test_a_prompt_for_which_there_is_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="a cache of 1000 tokens cannot hold a prompt of 1001"):
        PrefixCache(1_000).keep(Prompt("main", 0, "one", 1_001))


def test_what_others_began_with_is_found_for_the_first_call_of_a_session() -> None:
    cache = PrefixCache(10_000)
    cache.keep(Prompt("agent", 320, "one", 1_000))
    assert cache.match(Prompt("agent", 320, "two", 1_000)) == 320
    assert cache.match(Prompt("main", 320, "three", 1_000)) == 0


def test_the_recorded_pattern_is_of_a_main_conversation_that_grows_and_of_sub_agents() -> None:
    main, *agents = load().conversations
    assert (main.kind, main.after, {agent.kind for agent in agents}) == ("main", None, {"agent"})
    for each in load().conversations:
        sizes = [call.prompt for call in each.calls]
        assert sizes == sorted(sizes)
        assert 0 < each.shared < sizes[0]


def test_a_conversation_that_fills_its_window_begins_anew() -> None:
    shape = Shape(sessions=20, rounds=8, window=60_000)
    steps = [step for session in drawn(load(), shape, 1) for step in session.steps]
    assert max(step.prompt.tokens + step.answer for step in steps) <= 60_000
    assert len({step.prompt.conversation for step in steps}) > 20


def test_the_command_prints_a_row_for_each_policy(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sessions", "10", "--engines", "3", "--failures", "1", "--joins", "1", "--within", "60"])
    printed = capsys.readouterr().out
    assert [name for name in POLICIES if name not in printed] == []
    assert "3 engines, 10 sessions" in printed
