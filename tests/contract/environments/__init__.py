"""Environments of real engines for the contract: one for each, made once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CACHE = Path(os.environ.get("CONTRACT_DIR", ROOT / ".contract")).absolute()
KERNELS = HERE / "kernels"


def python_of(name: str) -> Path:
    """The interpreter of an engine's environment, which is made where it is missing.

    `CONTRACT_VLLM_PYTHON` (and so on) names one that is there already.
    """
    given = os.environ.get(f"CONTRACT_{name.upper()}_PYTHON")
    if given:
        return Path(given).absolute()
    folder = CACHE / name
    python, made = folder / "bin" / "python", folder / ".made"
    wanted = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.txt")))
    if not made.is_file() or made.read_text(encoding="utf-8") != wanted:
        print(f"making an environment for {name}", flush=True)
        _make(name, folder, python)
        made.write_text(wanted, encoding="utf-8")
    return python


def _make(name: str, folder: Path, python: Path) -> None:
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    overrides = ("--override", str(HERE / f"{name}-overrides.txt"))
    _uv("pip", "install", "--quiet", "-p", str(python), "-r", str(HERE / f"{name}.txt"), *overrides)
    if name in _FINISH:
        _FINISH[name](python)


def _uv(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("uv")), *arguments], check=True, cwd=ROOT)


def _packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    said = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout
    return Path(said.strip())


def _finish_vllm(python: Path) -> None:
    """Adds Dragoman with the tests' tools, and the name by which vLLM asks for its own version."""
    # the package has another name, and "+cpu" tells vLLM what it was built for
    described = _packages(python) / "vllm-0.32.0+cpu.dist-info"
    described.mkdir(exist_ok=True)
    text = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"
    (described / "METADATA").write_text(text, encoding="utf-8")
    (described / "RECORD").write_text("", encoding="utf-8")
    (described / "INSTALLER").write_text("contract\n", encoding="utf-8")
    more = ("-r", str(HERE / "tests.txt"), "--override", str(HERE / "vllm-overrides.txt"))
    _uv("pip", "install", "--quiet", "-p", str(python), "-e", str(ROOT), *more)


_VISION = """

# for the contract: without its operators, which are built for CUDA, their names keep the import from failing
if not _has_ops():
    _names = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, _name):
            _names.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def _finish_sglang(python: Path) -> None:
    """Adds a torchvision that can be imported beside a torch without CUDA."""
    _uv("pip", "install", "--quiet", "-p", str(python), "--no-deps", "torchvision==0.28.0")
    path = _packages(python) / "torchvision" / "extension.py"
    text = path.read_text(encoding="utf-8")
    # a file of its own: installed ones may be links into a cache that all environments share
    path.unlink()
    path.write_text(text + _VISION, encoding="utf-8")


_FINISH: dict[str, Callable[[Path], None]] = {"vllm": _finish_vllm, "sglang": _finish_sglang}
