"""The settings of engines: where each is, and what its Ray actor takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Dialect = Literal["auto", "generic", "vllm", "sglang", "llamacpp", "ollama", "transformers"]
# A day is the longest wait: every wait ends.
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0)]
ADDRESS = r"^https?://[^\s/]+"
HttpUrl = Annotated[str, Meta(pattern=ADDRESS)]


class RayActor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Ray actor in which an engine runs.

    model: what the embedded engine loads there, where the entry has no address (a catalogue name or a path
    on that machine; empty: the default). factory: `module:function`, which makes any engine there; it is
    called with the entry. num_cpus, num_gpus and resources: what the actor takes of its node. restart:
    whether an actor that died is made anew. shared: one actor for all processes that name this engine; it
    outlives them.
    """

    model: str = ""
    factory: Annotated[str, Meta(pattern=r"^([\w.]+:\w+)?$")] = ""
    num_cpus: Share = 1.0
    num_gpus: Share = 0.0
    resources: dict[str, Share] = {}
    restart: bool = True
    shared: bool = False


class EngineEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine: its address, key and what it serves.

    `kind` "remote" is a server at `url`; "vllm" is vLLM in this process, or in its Ray actor, which loads
    `model` with its own `arguments`.
    `models` empty means: all that the engine lists. `dialect` "auto" asks the server. `key_env` names an
    environment variable that holds the key, so that it need not stand in a file. `aids` names a model of
    the catalogue: a llama.cpp server that serves it gets its prompt aids. max_requests: running there at a
    time (0: no bound); more wait. weight: its share of sessions beside the others' weights. ca_file:
    certificates (PEM) that sign the server's, in the place of the system's. client_cert and client_key: files
    of ours, for a server that asks for them. ray: it runs in a Ray actor; without an address that actor loads
    a model.
    """

    kind: Literal["remote", "vllm"] = "remote"
    url: HttpUrl | Literal[""] = ""
    model: str = ""
    arguments: dict[str, Any] = {}
    name: str = ""
    key: str = ""
    key_env: str = ""
    models: tuple[str, ...] = ()
    dialect: Dialect = "auto"
    aids: str = ""
    max_requests: Count = 0
    weight: Annotated[float, Meta(gt=0)] = 1.0
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    ray: RayActor | None = None

    def __post_init__(self) -> None:
        """Refuses an engine that is nowhere, or in two places."""
        if self.kind == "remote" and (self.model or self.arguments):
            raise ValueError("`model` and `arguments` are of an engine in this process: say its `kind`")
        if self.kind != "remote" and (self.url or not self.model):
            raise ValueError("an engine in this process has a `model` (not `ray.model`) and no `url`")
        if self.kind != "remote":
            _refuse_of_a_server(self)
        if self.ray is None:
            if not (self.url or self.model):
                raise ValueError("engines: url is missing; only an engine in a Ray actor needs none")
            return
        if not self.name:
            raise ValueError("engines: an engine in a Ray actor needs a name")
        if sum(map(bool, (self.url, self.model, self.ray.model, self.ray.factory))) > 1:
            raise ValueError("engines: only one of url, model, ray.model and ray.factory can say what it is")


# What says how a server is reached.
_OF_A_SERVER = ("key", "key_env", "ca_file", "client_cert", "client_key")


def _refuse_of_a_server(entry: EngineEntry) -> None:
    for name in _OF_A_SERVER:
        if getattr(entry, name):
            raise ValueError(f"`{name}` is of a server: an engine in this process has none")


class Ray(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ray, where an engine or the server runs on it.

    address: of a cluster (empty: the one that RAY_ADDRESS names, else one of our own on this machine).
    namespace: where the actors' names are. min_replicas and max_replicas: of the server under Ray Serve;
    target_requests: running in each, above which there are more replicas. replica_cpus: what each takes.
    """

    address: str = ""
    namespace: str = "dragoman"
    min_replicas: Annotated[int, Meta(ge=1)] = 1
    max_replicas: Annotated[int, Meta(ge=1)] = 4
    target_requests: Annotated[float, Meta(gt=0)] = 64.0
    replica_cpus: Share = 1.0

    def __post_init__(self) -> None:
        """Refuses bounds that leave no number of replicas."""
        if self.min_replicas > self.max_replicas:
            raise ValueError("ray: min_replicas is above max_replicas")
