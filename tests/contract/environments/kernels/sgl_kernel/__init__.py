"""Stands for SGLang's kernels of a CPU, whose package is in no registry: enough for a dense model.

Two operators have to be known to torch. Every other kernel is there by its name, and fails when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

__version__ = "9999"


def absent(name: str) -> Callable[..., NoReturn]:
    """A kernel that is not there."""

    def kernel(*_arguments: Any, **_named: Any) -> NoReturn:
        raise NotImplementedError(f"the kernel {name} is not in these tests' stand-in")

    return kernel


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Any kernel by its name, but no attribute that tells what a module is."""
    if name.startswith("__"):
        raise AttributeError(name)
    return absent(name)


_OPERATORS = torch.library.Library("sgl_kernel", "DEF")
_OPERATORS.define("init_cpu_threads_env(str ids) -> str")
_OPERATORS.define("murmur_hash32_cpu(Tensor seed, Tensor pos, Tensor idx) -> Tensor")
_OPERATORS.impl("init_cpu_threads_env", lambda ids: f"threads: {ids}", "CompositeExplicitAutograd")
