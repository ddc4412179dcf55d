"""Builds the parrot: `python -m tests.models.parrot.build`, run in the project's root.

Everything comes from this package: the tokenizer is trained on the script, a small Qwen3 is overfitted on the
dialogues, and GGUF and the lists of cases are written beside it. No network. The same seed, thread count and
library versions give the same bytes.
"""

import argparse
import hashlib
import json
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import PreTrainedTokenizerFast

from tests.models.parrot.gguf_writer import write_gguf
from tests.models.parrot.script import Case, grid
from tests.models.parrot.surroundings import Draw, beyond
from tests.models.parrot.tokenizer import train_tokenizer, wrap
from tests.models.parrot.train import check, encode, gap, make_model, train


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the built files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocab", type=int, default=2048, help="upper limit for alphabet and merges")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--inter", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4000, help="upper limit")
    parser.add_argument("--decay", type=int, default=400, help="steps over which the rate falls to zero")
    parser.add_argument(
        "--good", type=float, default=0.95, help="share of right cases at which the rate begins to fall"
    )
    parser.add_argument("--batch", type=int, default=8, help="cases in an average batch")
    parser.add_argument("--tokens", type=int, default=2600, help="upper limit of tokens in one batch")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gguf-type", default="BF16", choices=["F32", "F16", "BF16"])
    return parser.parse_args()


def described(model: Any, tokenizer: PreTrainedTokenizerFast, case: Case) -> dict[str, Any]:
    """A case as tests read it, with the ids of prompt and reply, and whether the model gives it exactly."""
    prompt, reply = encode(tokenizer, case)
    line = case.line
    return {
        "kind": case.kind,
        "name": case.name,
        "exact": gap(model, tokenizer, case) is not None,
        "messages": case.messages,
        "tools": case.tools,
        "enable_thinking": case.thinking,
        "prefill": case.prefill,
        "thinking": line.thinking if case.thinking and not case.prefill else "",
        "text": line.text,
        "calls": line.calls,
        "malformed": line.raw is not None,
        "ends": line.ends,
        "raw": case.reply,
        "prompt_ids": prompt,
        "reply_ids": reply,
    }


def write_cases(model: Any, tokenizer: PreTrainedTokenizerFast, cases: Iterable[Case], path: Path) -> None:
    """Write the cases as JSON, one a line."""
    rows = [json.dumps(described(model, tokenizer, case), ensure_ascii=False) for case in cases]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def save(model: Any, folder: Path) -> None:
    """Write the network for transformers, vLLM and SGLang."""
    model.save_pretrained(str(folder))
    config_file, tokenizer_file = folder / "config.json", folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text())
    # transformers 5 writes rope_parameters and dtype only; older readers want these.
    config.setdefault("rope_theta", config["rope_parameters"]["rope_theta"])
    config.setdefault("torch_dtype", config["dtype"])
    config_file.write_text(json.dumps(config, indent=2) + "\n")
    # transformers 5 writes "TokenizersBackend", unknown to 4.x; this name loads in both.
    spec = {**json.loads(tokenizer_file.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
    tokenizer_file.write_text(json.dumps(spec, indent=2) + "\n")


def list_files(out: Path) -> None:
    """Print size and digest of every built file."""
    built = [
        out / "parrot.gguf",
        out / "dialogues.json",
        out / "beyond.json",
        *sorted((out / "hf").iterdir()),
    ]
    for file in built:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        print(f"{file.stat().st_size:>9} {digest} {file.relative_to(out)}")


def main() -> int:
    """Build; 0 if every case of the grid comes out exactly."""
    given = options()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    torch.use_deterministic_algorithms(True)
    folder = given.out / "hf"
    folder.mkdir(parents=True, exist_ok=True)
    raw = train_tokenizer(given.vocab)
    tokenizer = wrap(raw)
    tokenizer.save_pretrained(str(folder))
    model = make_model(tokenizer, given)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(tokenizer)} tokens, {size / 1e6:.2f} million parameters", flush=True)
    seconds = train(model, tokenizer, given)
    model = model.to(torch.bfloat16)
    draw = Draw(random.Random(given.seed + 1))
    scores = {
        "grid": check(model, tokenizer, grid()),
        "beyond": check(model, tokenizer, beyond()),
        "random": check(model, tokenizer, [draw.case() for _ in range(400)]),
    }
    print(f"trained in {seconds:.0f} s")
    for name, score in scores.items():
        print(f"{name}: {score}")
    save(model, folder)
    write_gguf(model, raw, given.out / "parrot.gguf", given.gguf_type)
    write_cases(model, tokenizer, grid(), given.out / "dialogues.json")
    write_cases(model, tokenizer, beyond(), given.out / "beyond.json")
    list_files(given.out)
    return 0 if scores["grid"].right == scores["grid"].total else 1


if __name__ == "__main__":
    raise SystemExit(main())
