"""What the embedded llama.cpp is started with: the numbers, and why they are these."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from dragoman.errors import SettingsError
from dragoman.models.gguf import ModelHead
from dragoman.models.resolve import model_file
from dragoman.settings import LocalEngine

# A model may have been trained for far more; the memory for it is taken at the start.
MOST_CONTEXT = 32768
UNKNOWN_CONTEXT = 4096
# A request that nobody waits for any more is only noticed between two steps. On one slow core 32 tokens
# of the default model take less than a second; steps of 128 are about a sixth faster there.
CPU_STEP = 32
GPU_STEP = 512
# An image is computed in one step by models whose pieces of it see each other.
IMAGE_STEP = 512
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class ServerParams(msgspec.Struct, frozen=True, kw_only=True):
    """All that is set on llama.cpp; its own defaults stand for the rest.

    context counts tokens of one request. batch: tokens of a prompt that are computed in one step.
    prompt_cache: MiB of main memory for prompts that left their slot. mmproj: what makes the model see.
    """

    model: Path
    name: str
    key: str
    context: int
    parallel: int
    threads: int
    batch: int
    prompt_cache: int = 1024
    mmproj: Path | None = None

    @property
    def shared_context(self) -> int:
        """Tokens for all slots together: llama.cpp divides what it is given by their number."""
        return self.context * self.parallel


def choose_context(asked: int, head: ModelHead) -> int:
    """Tokens per request: as asked, else the model's own up to a bound."""
    own = head.context_length or UNKNOWN_CONTEXT
    if not asked:
        return min(own, MOST_CONTEXT)
    if asked > own:
        raise SettingsError(
            f"local.context: {asked} tokens are more than the {own} that the model was trained for"
        )
    return asked


def choose_threads(asked: int, cores: float, load: float) -> int:
    """Compute threads: as asked, else one on few or busy cores, else half of the cores.

    llama.cpp's threads wait for each other at every step. Where one of them has to share its core, all
    of them wait: two threads beside another busy program were fifty times slower than one.
    """
    if asked:
        return asked
    if cores <= 2 or load > cores / 2:
        return 1
    return int(cores // 2)


def usable_cores() -> float:
    """The cores that this process may use, a container's quota included."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    return min(cores, _quota(CPU_QUOTA))


def _quota(file: Path) -> float:
    try:
        share, period = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if share == "max" else int(share) / int(period)


def _step(*, gpu: bool, sees: bool) -> int:
    step = GPU_STEP if gpu else CPU_STEP
    return max(step, IMAGE_STEP) if sees else step


def server_params(
    model: Path, name: str, head: ModelHead, key: str, local: LocalEngine, *, gpu: bool
) -> ServerParams:
    """The parameters for a model under these settings."""
    if local.parallel < 1:
        raise SettingsError(f"local.parallel: {local.parallel} is not 1 or more")
    return ServerParams(
        model=model,
        name=name,
        key=key,
        context=choose_context(local.context, head),
        parallel=local.parallel,
        batch=_step(gpu=gpu, sees=bool(local.mmproj)),
        mmproj=model_file(local.mmproj) if local.mmproj else None,
        threads=choose_threads(local.threads, usable_cores(), os.getloadavg()[0]),
    )
