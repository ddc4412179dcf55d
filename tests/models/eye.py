"""The eye: a vision encoder with random weights, written as GGUF, with which the parrot takes images.

It is of LLaVA's kind (`clip`, projector `mlp`): an image becomes 16 vectors of the parrot's width, whatever
its size. What they say is noise, but they are as real to llama.cpp as any others: they take their place in
the prompt, cost their time and are counted. The same seed gives the same bytes.
"""

from __future__ import annotations

import random
from array import array
from math import prod
from pathlib import Path

from tests.support.gguf import write_gguf

TOKENS = 16
"""What one image takes in the prompt."""

_PATCH = 14
_SIDE = 56
_WIDTH, _INNER, _LAYERS = 32, 64, 2
_PARROT_WIDTH = 128
_F32 = 0

_META: dict[str, str | bool | int | float | list[float]] = {
    "general.architecture": "clip",
    "general.name": "eye",
    "general.file_type": _F32,
    "clip.has_vision_encoder": True,
    "clip.projector_type": "mlp",
    "clip.use_gelu": True,
    "clip.vision.image_size": _SIDE,
    "clip.vision.patch_size": _PATCH,
    "clip.vision.embedding_length": _WIDTH,
    "clip.vision.feed_forward_length": _INNER,
    "clip.vision.block_count": _LAYERS,
    "clip.vision.projection_dim": _PARROT_WIDTH,
    "clip.vision.attention.head_count": 2,
    "clip.vision.attention.layer_norm_epsilon": 1e-5,
    "clip.vision.image_mean": [0.5] * 3,
    "clip.vision.image_std": [0.5] * 3,
}


def write_eye(path: Path, *, width: int = _PARROT_WIDTH) -> Path:
    """The file, for a model of some width."""
    chance = random.Random(0)
    write_gguf(
        path,
        {**_META, "clip.vision.projection_dim": width},
        _shapes(width),
        lambda shape: array("f", (chance.gauss(0, 0.3) for _ in range(prod(shape)))).tobytes(),
    )
    return path


def _shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and its shape, the fastest index first."""
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (_PATCH, _PATCH, 3, _WIDTH),
        "v.position_embd.weight": (_WIDTH, (_SIDE // _PATCH) ** 2),
    }
    layers = {"mm.0": (_WIDTH, width), "mm.2": (width, width)}
    for number in range(_LAYERS):
        block = f"v.blk.{number}"
        layers |= {f"{block}.attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "out")}
        layers |= {f"{block}.ffn_up": (_WIDTH, _INNER), f"{block}.ffn_down": (_INNER, _WIDTH)}
        for name in (f"{block}.ln1", f"{block}.ln2"):
            shapes |= {f"{name}.weight": (_WIDTH,), f"{name}.bias": (_WIDTH,)}
    for name, (inputs, outputs) in layers.items():
        shapes |= {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}
    return shapes
