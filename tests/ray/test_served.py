"""What `Served` begins and ends in a cluster that others use too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dragoman.engines.ray import end_shared, load_ray, shared_name
from dragoman.engines.ray.actor import EngineActor
from dragoman.engines.ray.values import Recipe
from dragoman.errors import SettingsError
from dragoman.ray import Served, deployed
from dragoman.settings import EngineEntry, Ray, RayActor, Settings
from tests.ray.test_serve import free_port
from tests.support.ray_here import ray_here

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.timeout(240),
]
THEIRS, OURS = "theirs", "ours"


def settings() -> Settings:
    where = RayActor(factory="tests.ray.engines:telling", num_cpus=0.1)
    entries = tuple(EngineEntry(name=name, ray=where) for name in (THEIRS, OURS))
    return Settings(port=free_port(), engines=entries, ray=Ray(max_replicas=1, replica_cpus=0.1))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster in which somebody else began one of the shared engines."""
    with ray_here() as ray:
        begin_theirs(ray)
        yield ray
        for name in (THEIRS, OURS):
            end_shared(name, "dragoman")
        load_ray("ray.serve").shutdown()


def begin_theirs(ray: Any) -> None:
    asked = settings()
    entry = next(entry for entry in deployed(asked).engines if entry.name == THEIRS)
    options = {"name": shared_name(THEIRS), "namespace": "dragoman", "lifetime": "detached", "num_cpus": 0.1}
    actor = ray.remote(EngineActor).options(**options).remote(Recipe.of(entry, asked))
    ray.get(actor.start.remote())


def begin_other(prefix: str) -> None:
    """Somebody else's application."""
    serve = load_ray("ray.serve")
    application = serve.deployment(name="other", ray_actor_options={"num_cpus": 0.1})(_Other)
    serve.run(application.bind(), name="other", route_prefix=prefix)


class _Other:
    async def __call__(self, request: Any) -> str:
        return "other"


def shared_engines(ray: Any) -> set[str]:
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    return {name for name in (THEIRS, OURS) if shared_name(name) in names}


def test_its_end_leaves_what_others_began(cluster: Any) -> None:
    serve = load_ray("ray.serve")
    served = Served(settings())
    served.begin()
    begin_other("/other")
    assert shared_engines(cluster) == {THEIRS, OURS}
    served.end()
    served.end()
    assert set(serve.status().applications) == {"other"}
    assert shared_engines(cluster) == {THEIRS}


def test_where_serve_runs_it_refuses_and_ends_nothing(cluster: Any) -> None:
    serve = load_ray("ray.serve")
    serve.start(http_options={"host": "127.0.0.1", "port": free_port()})
    begin_other("/")
    served = Served(settings())
    with pytest.raises(SettingsError, match=r"serve run dragoman\.ray:app"):
        served.begin()
    served.end()
    assert set(serve.status().applications) == {"other"}
    assert shared_engines(cluster) == {THEIRS}


def test_an_engine_that_each_replica_would_load_is_refused() -> None:
    asked = msgspec.structs.replace(Settings(), engines=(EngineEntry(kind="vllm", model="/m"),))
    with pytest.raises(SettingsError, match="each replica"):
        deployed(asked)
