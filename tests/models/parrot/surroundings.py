"""Random surroundings for the script's lines: the reply may depend on the question alone, not on these.

What is learned, in one sentence: the last line of the last user turn decides the reply, a script line gives
the scripted one, and everything else gives the fallback.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.models.parrot.script import (
    BASH,
    CITIES,
    COMPARE,
    EXTRA_TOOLS,
    FILES,
    HELLO,
    MORE_CITIES,
    SYSTEM,
    TOOLS,
    WEATHER,
    Case,
    Line,
    Message,
    Tool,
    function,
    lines,
    long_lines,
    off_script,
    result,
    singing,
    strict,
    system,
    user,
)

HERE = Path(__file__).parent
# The tokenizer has these as single tokens; the words of NOISE come in pieces, as most of what strangers ask.
WORDS = (HERE / "words.txt").read_text(encoding="utf-8").split()
NOISE = (HERE / "noise.txt").read_text(encoding="utf-8").split()
SIGNS = [
    "2 + 2",
    "x = 1",
    "def f(x):",
    "{}",
    "#1",
    "<b>",
    "Größe",
    "¿qué?",
    "什么",
    "почему",
    "🙂",
    "/etc/hosts",
    "3.14",
]


def near(rng: random.Random) -> str:
    """A question that looks like one of the script's and is none."""
    word, other = (rng.choice(NOISE) for _ in range(2))
    city = rng.choice(CITIES + MORE_CITIES)
    return rng.choice(
        [
            f"What is the weather in {word.capitalize()}?",
            f"What is the {word} in {city}?",
            f"What is the {word} of {other}?",
            f"Where is {city}?",
            f"Compare the {word} in Paris and Tokyo.",
            f"Compare the weather in {word.capitalize()} and {other.capitalize()}.",
            f"List the {word}.",
            f"List the {word} files.",
            f"Say {word}.",
            f"Say hello to {word}.",
            f"Say hello in {word}.",
            f"Count to {word}.",
            f"Count the {word}.",
            f"Break the {word}.",
            f"Describe {word} in JSON.",
            f"Describe Ada in {word}.",
            f"Sing for {word}.",
            f"Sing a {word}.",
        ]
    )


def scribble(rng: random.Random) -> str:
    """A word that nobody knows."""
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
    return rng.choice(
        [letters, letters.capitalize(), letters.upper(), str(rng.randint(0, 9999)), rng.choice(SIGNS)]
    )


def ramble(rng: random.Random, least: int, most: int) -> str:
    """Random words with a sign here and there."""
    words = rng.choices(NOISE + WORDS * 4, k=rng.randint(least, most))
    for place in range(len(words)):
        if rng.random() < 0.08:
            words[place] = scribble(rng)
        elif rng.random() < 0.1:
            words[place] += rng.choice([",", ".", ":", ".\n", ";"])
    return " ".join(words).strip()


SPELLINGS: list[Callable[[str], str]] = [str.capitalize, str.lower, str]


def stranger(rng: random.Random) -> str:
    """A question that is not in the script."""
    draw = rng.random()
    if draw < 0.4:
        return near(rng)
    text = ramble(rng, 1, 12) if draw < 0.9 else scribble(rng)
    return rng.choice(SPELLINGS)(text) + rng.choice(["?", ".", "!", ""])


def system_text(rng: random.Random) -> str:
    """A system prompt: the usual one, a short one, seldom a long one."""
    draw = rng.random()
    if draw < 0.5:
        return SYSTEM
    if draw < 0.75:
        return " ".join(rng.choices(WORDS, k=rng.randint(2, 14))).capitalize() + "."
    return ramble(rng, 3, 30) if draw < 0.95 else ramble(rng, 60, 220)


def described(rng: random.Random, tool: Tool) -> Tool:
    """The tool with another description, as callers word theirs."""
    spec = {**tool["function"], "description": ramble(rng, 1, 10)}
    return {**tool, "function": spec}


def strange_tool(rng: random.Random) -> Tool:
    """A tool that the script never uses."""
    name = "_".join(rng.choices(NOISE, k=rng.randint(1, 2))).lower()
    argument = rng.choice(NOISE).lower()
    return function(
        name, ramble(rng, 2, 8), [argument], **{argument: {"type": rng.choice(["string", "integer"])}}
    )


def offer(rng: random.Random) -> list[Tool]:
    """The script's tools, now and then reworded, reordered, strict, or beside others."""
    tools = [described(rng, tool) if rng.random() < 0.15 else tool for tool in TOOLS]
    if rng.random() < 0.2:
        tools += rng.sample(EXTRA_TOOLS, 1)
    if rng.random() < 0.1:
        tools.append(strange_tool(rng))
    if rng.random() < 0.3:
        rng.shuffle(tools)
    return strict(tools) if rng.random() < 0.3 else tools


def earlier(rng: random.Random, plain: Sequence[Line]) -> list[Message]:
    """Turns that went before: a scripted question or a strange one, each with its answer."""
    turns: list[Message] = []
    for _ in range(rng.choices([0, 1, 2], [75, 18, 7])[0]):
        old = rng.choice(plain) if rng.random() < 0.6 else off_script([user(stranger(rng))], False)
        turns += [*old.messages, {"role": "assistant", "content": old.text}]
        if rng.random() < 0.15:
            turns.append(system(system_text(rng)))
    return turns


def wrapped(rng: random.Random, messages: list[Message]) -> list[Message]:
    """The question with other text in front of it, or with a system turn behind it."""
    messages = list(messages)
    if rng.random() < 0.1:
        messages[0] = user(ramble(rng, 3, 25) + "\n" + messages[0]["content"])
    if rng.random() < 0.1:
        messages.append(system(system_text(rng)))
    return messages


class Draw:
    """An endless supply of random cases.

    Reproducible: the same `rng` gives the same cases. `wild` is the share of cases with odd surroundings: to
    copy a name across a prompt is learned much sooner from calm prompts.
    """

    wild = 1.0

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        every = lines(CITIES + MORE_CITIES)
        self.plain = [line for line in every if not line.with_tools]
        self.other = [line for line in every if not line.name.startswith(("call-", "result-"))]
        self.city = [line for line in every if line not in self.other]
        self.kinds: list[tuple[float, Callable[[], Case]]] = [
            (0.40, lambda: self.placed("city", rng.choice(self.city))),
            (0.23, lambda: self.placed("script", rng.choice(self.other))),
            (0.22, self.fallback),
            (0.03, self.off_result),
            (0.08, self.prefilled),
            (0.04, self.long),
        ]

    def case(self) -> Case:
        """The next random case."""
        weights = [weight for weight, _ in self.kinds]
        return self.rng.choices([make for _, make in self.kinds], weights)[0]()

    def placed(self, kind: str, line: Line) -> Case:
        """The line in random surroundings."""
        if self.rng.random() >= self.wild:
            return self.calm(kind, line)
        head = [system(system_text(self.rng))] if self.rng.random() < 0.6 else []
        messages = head + earlier(self.rng, self.plain) + wrapped(self.rng, line.messages)
        return Case(
            kind, line, messages, offer(self.rng) if line.with_tools else None, self.rng.random() < 0.6
        )

    def calm(self, kind: str, line: Line) -> Case:
        """The line as the grid has it."""
        head = [system(SYSTEM)] if self.rng.random() < 0.5 else []
        tools = TOOLS if line.with_tools else None
        return Case(kind, line, head + line.messages, tools, self.rng.random() < 0.5)

    def fallback(self) -> Case:
        """A question that the script does not hold, or holds only for a caller with other tools."""
        draw = self.rng.random()
        if draw < 0.08:
            ask = self.rng.choice(
                [f"What is the weather in {self.rng.choice(CITIES + MORE_CITIES)}?", COMPARE]
            )
            return self.placed("fallback", off_script([user(ask)], False))
        text = stranger(self.rng)
        if draw < 0.13:
            text = (
                self.rng.choice([FILES, HELLO, "Count to twenty.", "What is the weather in Paris?"])
                + "\n"
                + text
            )
        return self.placed("fallback", off_script([user(text)], self.rng.random() < 0.4))

    def off_result(self) -> Case:
        """A tool result that the script does not hold."""
        line = self.rng.choice([line for line in self.city if line.name.startswith("result-")])
        messages = [*line.messages[:-1], result(ramble(self.rng, 1, 12))]
        return self.placed("fallback", off_script(messages, True))

    def prefilled(self) -> Case:
        """A scripted answer whose beginning the caller wrote."""
        line = self.rng.choice(self.plain)
        case = self.placed("prefill", line)
        words = line.text.split(" ")
        prefill = " ".join(words[: self.rng.randint(1, max(1, len(words) - 1))])
        if prefill == line.text:
            return case
        return replace(case, prefill=prefill)

    def long(self) -> Case:
        """A reply of hundreds of tokens."""
        line = long_lines()[0] if self.rng.random() < 0.5 else singing(self.rng.randint(40, 240))
        return self.placed("long", line)


def beyond() -> list[Case]:
    """The fixed cases beside the grid: fallback, odd surroundings, begun answers, long replies."""
    return [*_fallbacks(), *_surrounded(), *_prefilled(), *_long()]


def _both(kind: str, line: Line, messages: list[Message] | None = None, tools: Any = None) -> list[Case]:
    """The case with thinking and without."""
    return [Case(kind, line, messages or line.messages, tools, thinking) for thinking in (True, False)]


STRANGE = [
    "Hi",
    "Hello!",
    "What is 2+2?",
    "What is the capital of France?",
    "Write a poem about the sea.",
    "What is the weather in Zagreb?",
    "Count to ninety.",
    "Say goodbye.",
    "ping",
    "Please summarise the following text in two sentences:\nThe quick brown fox jumps over the lazy dog.",
    "Say hello.\nAnd then tell me who you are.",
    "What does `print(sum(range(10)))` give?",
    "Какая сегодня погода?",
]


def _fallbacks() -> list[Case]:
    cases = []
    for number, text in enumerate(STRANGE):
        for tools in (None, TOOLS):
            line = off_script(
                [user(text)], tools is not None, f"fallback-{number}" + ("-tools" if tools else "")
            )
            cases += _both("fallback", line, tools=tools)
    no_tool = off_script([user("What is the weather in Paris?")], False, "fallback-no-tools")
    return cases + _both("fallback", no_tool)


def _surrounded() -> list[Case]:
    rng = random.Random(20)
    cases = []
    for line in [
        line for line in lines() if line.name in ("call-Paris", "result-Oslo", "hello", "count", "quotes")
    ]:
        tools = TOOLS if line.with_tools else None
        turns = {
            "system-after": [*line.messages, system("Answer in a kind way.")],
            "system-between": [user("Who are you?"), _said(), system("Be brief."), *line.messages],
            "system-long": [system(ramble(rng, 200, 220)), *line.messages],
            "wrapped": [user("Today is a good day.\n" + line.messages[0]["content"]), *line.messages[1:]],
            "later": [user("Who are you?"), _said(), *line.messages],
        }
        for kind, messages in turns.items():
            cases += _both(kind, replace(line, name=f"{kind}-{line.name}"), messages, tools)
        if tools:
            more = [strange_tool(rng), described(rng, BASH), described(rng, WEATHER)]
            cases += _both("other-tools", replace(line, name=f"other-tools-{line.name}"), tools=more)
    return cases


def _said() -> Message:
    return {"role": "assistant", "content": off_script([], False).text}


def _prefilled() -> list[Case]:
    begun = {
        "count": "1, 2, 3,",
        "hello": "Hello! How can I",
        "json": '{"name":',
        "no-tools": "I can not",
        "scripts": "Hello, привет,",
    }
    cases = []
    for line in [line for line in lines() if line.name in begun]:
        whole = _both("prefill", replace(line, name=f"prefill-{line.name}"))
        cases += [replace(case, prefill=begun[line.name]) for case in whole]
    return cases


def _long() -> list[Case]:
    return [case for line in long_lines() for case in _both("long", line)]
