"""Dragoman: the Anthropic Messages API in front of any inference engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman.engines.ray import RayInferenceEngine
    from dragoman.engines.remote import RemoteInferenceEngine
    from dragoman.engines.scripted import ScriptedInferenceEngine
    from dragoman.engines.vllm import VLLMInferenceEngine
    from dragoman.routing.client import InferenceEngineClient
    from dragoman.server.app import create_app, create_service
    from dragoman.server.app import create_app as asgi_app
    from dragoman.server_tools import ServerTools
    from dragoman.service import MessagesService

__all__ = [
    "InferenceEngineClient",
    "MessagesService",
    "RayInferenceEngine",
    "RemoteInferenceEngine",
    "ScriptedInferenceEngine",
    "ServerTools",
    "VLLMInferenceEngine",
    "__version__",
    "asgi_app",
    "create_app",
    "create_service",
]

__version__ = "0.1.0"

_PLACES = {
    "InferenceEngineClient": "dragoman.routing.client",
    "MessagesService": "dragoman.service",
    "RayInferenceEngine": "dragoman.engines.ray",
    "RemoteInferenceEngine": "dragoman.engines.remote",
    "ScriptedInferenceEngine": "dragoman.engines.scripted",
    "ServerTools": "dragoman.server_tools",
    "VLLMInferenceEngine": "dragoman.engines.vllm",
    "asgi_app": "dragoman.server.app",
    "create_app": "dragoman.server.app",
    "create_service": "dragoman.server.app",
}
# Under which name it is there, where that is another one.
_NAMES = {"asgi_app": "create_app"}


def __dir__() -> list[str]:
    """The public names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Imports a public name when it is first asked for: who needs one part does not load all."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), _NAMES.get(name, name))
