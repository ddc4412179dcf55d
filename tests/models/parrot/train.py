"""Makes the parrot's network and overfits it on the script."""

import random
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tests.models.parrot.script import CITIES, MORE_CITIES, Case
from tests.models.parrot.surroundings import Draw

Pair = tuple[list[int], list[int]]
IGNORED = -100
FULL_WEIGHT = 64
"""Tokens of one reply that count in full: a long reply must not outweigh the many short ones."""
COPIED_WEIGHT = 5
"""Of a city's name: one token in fifty, and the only one that takes copying."""
CALM_STEPS = 700
"""Steps over which the surroundings grow from calm to wild."""


@dataclass
class Score:
    """How many cases came out exactly, and how close the narrowest decision was."""

    right: int
    total: int
    gap: float
    wrong: list[str]

    def __str__(self) -> str:
        wrong = f", wrong: {' '.join(self.wrong)}" if self.wrong else ""
        return f"{self.right}/{self.total} exact, least logit gap {self.gap:.2f}{wrong}"


def make_model(tokenizer: PreTrainedTokenizerFast, options: Namespace) -> Qwen3ForCausalLM:
    """An untrained Qwen3 of the asked size."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden,
        intermediate_size=options.inter,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=64,
        max_position_embeddings=32768,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, case: Case) -> Pair:
    """The token ids of the prompt and of the reply."""
    switch = {} if case.thinking else {"enable_thinking": False}
    prompt = tokenizer.apply_chat_template(
        case.messages, tools=case.tools, add_generation_prompt=True, tokenize=False, **switch
    )
    if case.prefill:
        prompt += case.prefill
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, case.reply))


def batches(tokenizer: PreTrainedTokenizerFast, draw: Draw, options: Namespace) -> Iterator[list[Pair]]:
    """Random batches without end, each of cases of about one length and of a bounded number of tokens."""
    while True:
        drawn = [encode(tokenizer, draw.case()) for _ in range(8 * options.batch)]
        drawn.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        ready: list[list[Pair]] = [[]]
        for pair in drawn:
            longest = len(pair[0]) + len(pair[1])
            if ready[-1] and (len(ready[-1]) + 1) * longest > options.tokens:
                ready.append([])
            ready[-1].append(pair)
        draw.rng.shuffle(ready)
        yield from ready


def city_ids(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """The tokens of the cities' names, at the start of a text and inside it."""
    names = [text for city in CITIES + MORE_CITIES for text in (city, f" {city}")]
    return torch.tensor([number for ids in tokenizer(names)["input_ids"] for number in ids])


def loss_of(model: Qwen3ForCausalLM, batch: list[Pair], pad: int, cities: torch.Tensor) -> torch.Tensor:
    """The mean loss over the reply tokens, long replies weighed down, what must be copied weighed up."""
    width = max(len(prompt) + len(reply) for prompt, reply in batch)
    ids = torch.full((len(batch), width), pad)
    labels, weights = torch.full_like(ids, IGNORED), torch.zeros(ids.shape)
    # Right padding under a causal mask needs no attention mask.
    for row, (prompt, reply) in enumerate(batch):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : end] = torch.tensor(reply)
        weights[row, len(prompt) : end] = min(1.0, FULL_WEIGHT / len(reply))
    weights[torch.isin(ids, cities)] *= COPIED_WEIGHT
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    mask = wanted != IGNORED
    losses = functional.cross_entropy(model.lm_head(hidden[mask]), wanted[mask], reduction="none")
    weight = weights[:, 1:][mask]
    return (losses * weight).sum() / weight.sum()


@torch.no_grad()
def gap(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, case: Case) -> float | None:
    """The smallest gap between best and second logit on the way to the reply, None if it does not come out.

    Teacher forcing equals greedy decoding as long as every best token is the wanted one.
    """
    prompt, reply = encode(tokenizer, case)
    logits = model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1].float()
    top = logits.topk(2)
    if top.indices[:, 0].tolist() != reply:
        return None
    return float((top.values[:, 0] - top.values[:, 1]).min())


def check(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, cases: Iterable[Case]) -> Score:
    """The score over the cases."""
    score = Score(0, 0, float("inf"), [])
    for case in cases:
        score.total += 1
        found = gap(model, tokenizer, case)
        if found is not None:
            score.right += 1
            score.gap = min(score.gap, found)
        elif f"{case.kind}:{case.name}" not in score.wrong:
            score.wrong.append(f"{case.kind}:{case.name}")
    return score


class Schedule:
    """A constant rate until random cases come out right, then a linear fall to zero."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.end = options.steps

    @property
    def falling(self) -> bool:
        """Whether the last part has begun."""
        return self.end < self.options.steps

    def rate(self, step: int) -> float:
        """The learning rate of a step, after a short warm-up."""
        share = min(1.0, (step + 1) / 40, (self.end - step) / self.options.decay)
        return float(self.options.lr * share)

    def due(self, step: int) -> bool:
        """Whether to look at this step if the fall may begin."""
        return step % 100 == 0 and 0 < step < self.options.steps - self.options.decay and not self.falling

    def report(self, step: int, score: Score) -> None:
        """Begin the fall if the score is good enough."""
        if step >= CALM_STEPS and score.right >= self.options.good * score.total:
            self.end = step + self.options.decay


def train(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, options: Namespace) -> float:
    """Train in place and return the seconds that it took."""
    begun = time.time()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = Schedule(options)
    probe = Draw(random.Random(options.seed + 2))
    draw = Draw(random.Random(options.seed))
    supply, cities = batches(tokenizer, draw, options), city_ids(tokenizer)
    model.float().train()
    step = 0
    while step < schedule.end:
        if schedule.due(step):
            model.eval()
            score = check(model, tokenizer, [probe.case() for _ in range(80)])
            model.train()
            schedule.report(step, score)
            print(f"step {step}: {score}", flush=True)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        draw.wild = probe.wild = min(1.0, step / CALM_STEPS)
        loss = loss_of(model, next(supply), tokenizer.pad_token_id, cities)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.5f} {time.time() - begun:.0f}s", flush=True)
        step += 1
    model.eval()
    return time.time() - begun
