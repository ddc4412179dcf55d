"""The kernels of another kind of models: none is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sgl_kernel import absent


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Any kernel by its name, but no attribute that tells what a module is."""
    if name.startswith("__"):
        raise AttributeError(name)
    return absent(name)
