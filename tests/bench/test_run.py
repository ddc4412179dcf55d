"""The benchmark runs: small here, so that its figures mean nothing but its parts are in order."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as program
from bench import measure, processes, runner, servers
from bench.canned import ANSWERS
from bench.check import check_answer
from bench.engine import response
from bench.measure import Engine, EngineError
from bench.processes import ROOT, BenchError
from bench.results import Failure, Report
from bench.runner import Bench, Found, Plan
from bench.scenarios import LIVE, SCENARIOS, Scenario
from bench.servers import SERVERS, Server
from tests.bench.test_load import HEAD, Answers, serving

TINY = Scenario("tiny", 2, "short", seconds=0.0, runs=2)
TINY_LIVE = msgspec.structs.replace(LIVE, streams=3, pace_ms=1.0)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_benchmark_writes_its_figures(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    loads = "mixed-32,short-1,1MB-1,paced-1"
    options = [
        "--quick",
        "--here",
        "--peers",
        "dragoman,relay",
        "--scenarios",
        loads,
        "--output",
        str(output),
    ]
    run = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=230,
    )
    found = msgspec.json.decode(output.read_bytes(), type=Report)
    assert found.failures == []
    assert run.returncode == 0, run.stderr
    assert list(found.cpu_us_per_token) == ["dragoman", "relay"]
    assert all(value is not None and value > 0 for value in found.cpu_us_per_token.values())
    assert {(cell.server, cell.scenario) for cell in found.cells} == {
        (server, load) for server in ("direct", "dragoman", "relay") for load in loads.split(",")
    }
    assert [session.server for session in found.sessions] == ["dragoman", "relay"]
    most = [server.most_at_once for server in found.servers]
    # how many of the fifty are there together is the machine's affair
    assert most[0] is None
    assert all(each is not None and 1 < each <= 50 for each in most[1:])
    unmeasured = [target.name for target in found.targets if target.met is None]
    assert len(unmeasured) == 2
    assert "CPU per token, us, at full speed" in run.stdout
    assert max(map(len, run.stdout.splitlines()[:-1])) <= 100


def broken_server(name: str, code: str) -> Server:
    """A server that runs some Python in place of a peer."""

    def command(programs: Path, place: servers.Place) -> list[str]:
        return [str(programs / "python"), "-c", code, str(place.port)]

    return Server(name, "/v1/messages", "messages", "/", command, lambda _: {})


WRONG = """
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b"data: {}\\n\\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("import sys; sys.exit('no luck')", ["start and live streams", "check"]),
        (WRONG, ["start and live streams", "check"]),
    ],
    ids=["does not start", "answers something else"],
)
def test_a_peer_that_fails_is_named_and_fails_no_other(
    code: str, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVERS, "smg", broken_server("smg", code))
    monkeypatch.setattr(servers, "OURS", ("dragoman", "relay", "smg"))
    plan = Plan(("smg", "relay"), (TINY,), TINY_LIVE, starts=1, sessions=1, turns=8, large="1KB", here=True)
    said: list[str] = []
    found = Bench(plan, said.append).run()
    assert [(failure.server, failure.part) for failure in found.failures] == [("smg", part) for part in parts]
    assert [run.server for run in found.runs] == ["direct", "relay", "direct", "relay"]
    assert list(found.sessions) == ["relay"]
    assert [start.most_at_once for start in found.starts] == [3]
    assert "tiny, run 1 of 2, relay" in said


@pytest.mark.slow
def test_a_server_that_is_slow_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONG_RUN_SECONDS", 0.0)
    plan = Plan(("relay",), (TINY,), TINY_LIVE, starts=2, sessions=1, turns=8, large="1KB", here=True)
    found = Bench(plan, list[str]().append).run()
    assert found.failures == []
    assert [run.server for run in found.runs] == ["direct", "relay"]
    assert [start.most_at_once for start in found.starts] == [3, None]


def test_only_what_is_ours_fails_the_command() -> None:
    assert program.status_of([]) == 0
    assert program.status_of([Failure("smg", "check", ""), Failure("litellm", "install", "")]) == 0
    assert [program.status_of([Failure(name, "check", "")]) for name in ("direct", "dragoman", "relay")] == [
        1
    ] * 3


def test_without_its_engine_nothing_is_measured() -> None:
    gone = servers.Live(servers.ENGINE, processes.free_port(), processes.Running(1, 0.0))
    found = Found()
    with pytest.raises(EngineError, match="does not answer any more"):
        found.attempt("dragoman", "check", partial(measure.check, Engine(gone), gone))
    assert found.failures == []


def test_an_attempt_notes_what_it_knows_and_lets_a_bug_through() -> None:
    found = Found()

    def fail() -> int:
        raise BenchError("two\nlines")

    def bug() -> int:
        raise KeyError("ours")

    assert found.attempt("smg", "check", fail) is None
    assert found.failures[0].why == "two lines"
    assert found.attempt("smg", "load", lambda: 3) == 3
    with pytest.raises(KeyError):
        found.attempt("smg", "load", bug)


async def test_a_wrong_answer_is_not_measured() -> None:
    import asyncio

    whole = HEAD + b"5\r\ndata:\r\n0\r\n\r\n"
    async with serving(lambda: Answers(whole)) as port:
        for copied, why in [(True, "byte for byte"), (False, "all canned tokens")]:
            with pytest.raises(BenchError, match=why):
                await asyncio.to_thread(
                    check_answer, port, "/v1/messages", "messages", ANSWERS["short"], copied=copied
                )


async def test_an_error_is_not_measured() -> None:
    import asyncio

    async with serving(lambda: Answers(response(b"500 Oh", b"no luck"))) as port:
        with pytest.raises(BenchError, match="answered 500: no luck"):
            await asyncio.to_thread(check_answer, port, "/", "chat", ANSWERS["short"], copied=True)
    with pytest.raises(BenchError, match="did not answer"):
        check_answer(port, "/", "chat", ANSWERS["short"], copied=True)


def test_options_choose_what_is_measured() -> None:
    plan = program.plan_of(program.options_of([]))
    assert (plan.peers, plan.scenarios, plan.live) == (servers.PEERS, SCENARIOS, LIVE)
    assert all(one.runs >= 3 for one in plan.scenarios)
    few = program.plan_of(program.options_of(["--peers", "relay", "--scenarios", "mixed-256", "--runs", "2"]))
    assert (few.starts, few.sessions) == (2, 2)
    assert (few.peers, [(one.name, one.runs) for one in few.scenarios]) == (("relay",), [("mixed-256", 2)])
    quick = program.plan_of(program.options_of(["--quick"]))
    assert {one.runs for one in quick.scenarios} == {1}
    assert max(one.streams for one in (*quick.scenarios, quick.live)) <= 64


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.options_of(["--peers", "dragoman,nginx"])
    assert "nginx is none of dragoman, relay, smg, litellm" in capsys.readouterr().err


def test_peers_are_asked_what_they_can_read() -> None:
    forms = {server.name: (server.form, server.path) for server in SERVERS.values()}
    assert forms["smg"] == ("chat", "/v1/chat/completions")
    assert forms["litellm"] == forms["dragoman"] == forms["relay"] == ("messages", "/v1/messages")
    assert set(measure.COPIES) & {"dragoman", "litellm"} == set()
