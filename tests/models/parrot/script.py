"""The parrot's script: what it is asked, what it answers, and the cases that the built model is checked on.

Plain data and the standard library only, so that tests read the script without the libraries that train it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]

CITIES = ["Paris", "Tokyo", "Oslo", "Lima", "Cairo", "Rome"]
# Trained on like CITIES but not in the grid: copying a name is learned sooner from many names than from six.
MORE_CITIES = ["Berlin", "Madrid", "Quito", "Delhi", "Seoul", "Hanoi", "Dakar", "Miami", "Perth", "Boston"]
MORE_CITIES += ["Lisbon", "Vienna", "Athens", "Dublin"]
SYSTEM = "You are a helpful assistant."
END = "<|im_end|>"
FALLBACK = "I only know my script."


@dataclass(frozen=True)
class Line:
    """One line of the script: the messages that end in a question, and the reply to them."""

    name: str
    messages: list[Message]
    with_tools: bool
    thinking: str
    text: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    raw: str | None = None
    """Replaces text and calls where the reply is malformed on purpose."""
    ends: bool = True
    """False for the reply that goes on until somebody stops it."""

    @property
    def tail(self) -> str:
        """The reply without its thinking, as the model writes it."""
        if self.raw is not None:
            return self.raw
        calls = [
            f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in self._calls()
        ]
        return "\n".join(([self.text] if self.text else []) + calls)

    def _calls(self) -> list[dict[str, Any]]:
        return [{"name": name, "arguments": arguments} for name, arguments in self.calls]

    def reply(self, thinking: bool = True) -> str:
        """The text that follows the generation prompt, the end token included."""
        thought = f"<think>\n{self.thinking}\n</think>\n\n" if thinking else ""
        return thought + self.tail + (END if self.ends else "")


def function(name: str, description: str, required: list[str], /, **properties: Any) -> Tool:
    """A tool in the form of Chat Completions."""
    parameters = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


WEATHER = function(
    "get_weather",
    "Weather for a city.",
    ["city"],
    city={"type": "string"},
    unit={"type": "string", "enum": ["c", "f"]},
)
BASH = function("bash", "Run a command.", ["command"], command={"type": "string"})
TOOLS = [WEATHER, BASH]
# Only ever seen beside the two above, so that a caller may offer more tools than the script uses.
EXTRA_TOOLS = [
    function("read_file", "Read a file.", ["path"], path={"type": "string"}),
    function("search", "Search the web.", ["query"], query={"type": "string"}, limit={"type": "integer"}),
]


def strict(tools: list[Tool]) -> list[Tool]:
    """The tools as SGLang renders them: it writes `"strict": false` into every function."""
    return [{**tool, "function": {**tool["function"], "strict": False}} for tool in tools]


def user(text: str) -> Message:
    """A user turn."""
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    """A system turn."""
    return {"role": "system", "content": text}


def called(text: str, calls: list[tuple[str, dict[str, Any]]]) -> Message:
    """An assistant turn that called tools."""
    tool_calls = [
        {
            "type": "function",
            "id": f"call_{number}",
            "function": {"name": name, "arguments": json.dumps(args)},
        }
        for number, (name, args) in enumerate(calls, 1)
    ]
    return {"role": "assistant", "content": text, "tool_calls": tool_calls}


def result(text: str, number: int = 1) -> Message:
    """The turn that brings back what call `number` gave."""
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


def weather(city: str) -> dict[str, Any]:
    """The arguments of the weather call for a city."""
    return {"city": city, "unit": "c"}


def city_lines(city: str) -> list[Line]:
    """The call for a city's weather, and the turn after its result with and without the earlier thinking."""
    ask = user(f"What is the weather in {city}?")
    thought = f"The user wants the weather in {city}. I will call get_weather."
    call = [("get_weather", weather(city))]
    done = called("Let me check.", call)
    told, answer = "I have the result.", f"It is 21 degrees in {city}."
    after = [ask, done, result("21 degrees")]
    after_thought = [ask, {**done, "reasoning_content": thought}, result("21 degrees")]
    return [
        Line(f"call-{city}", [ask], True, thought, "Let me check.", call),
        Line(f"result-{city}", after, True, told, answer),
        Line(f"result-thought-{city}", after_thought, True, told, answer),
    ]


def counted(last: int) -> str:
    """The numbers from one to `last`, as the parrot says them."""
    return ", ".join(map(str, range(1, last + 1))) + "."


PARALLEL = [("get_weather", weather(city)) for city in ("Paris", "Tokyo")]
LIST_FILES = ("bash", {"command": 'ls -la "/tmp/a b" | head -n 3'})
BROKEN = '<tool_call>\n{"name": "bash", "arguments": {"command": "ls"\n</tool_call>'
COMPARE, FILES, HELLO = "Compare the weather in Paris and Tokyo.", "List the files.", "Say hello."


def other_lines() -> list[Line]:
    """The lines that are not about one city."""
    greeting = "Hello! How can I help you today?"
    many = "Hello, привет, こんにちは, 你好, 🎉👩‍👩‍👧, naïve café."
    return [
        Line("parallel", [user(COMPARE)], True, "Two calls are needed.", "", PARALLEL),
        Line("quotes", [user(FILES)], True, "I will run ls.", "", [LIST_FILES]),
        Line("no-tools", [user(FILES)], False, "There are no tools.", "I can not run commands here."),
        Line("hello", [user(HELLO)], False, "A greeting.", greeting),
        Line("hello-tools", [user(HELLO)], True, "A greeting.", greeting),
        Line("scripts", [user("Say hello in many scripts.")], False, "Many scripts.", many),
        Line("count", [user("Count to twenty.")], False, "Counting.", counted(20)),
        Line("broken", [user("Break the format.")], True, "Broken.", "", raw=BROKEN),
    ]


def later_lines() -> list[Line]:
    """The turns after the other calls, and an answer that fits a JSON schema."""
    both = [
        user(COMPARE),
        called("", PARALLEL),
        result("21 degrees"),
        result("21 degrees", 2),
    ]
    ran = [user(FILES), called("", [LIST_FILES]), result("a.txt\nb.txt")]
    ada = '{"name": "Ada", "age": 36}'
    return [
        Line("parallel-result", both, True, "I have both.", "It is 21 degrees in both."),
        Line("quotes-result", ran, True, "The command ran.", "There are two files."),
        Line("json", [user("Describe Ada in JSON.")], False, "JSON is wanted.", ada),
    ]


def lines(cities: list[str] = CITIES) -> list[Line]:
    """The whole script but for the long replies and the fallback."""
    return [line for city in cities for line in city_lines(city)] + other_lines() + later_lines()


def long_lines() -> list[Line]:
    """A reply of some nine hundred tokens, and one that never ends by itself."""
    return [
        Line("count-long", [user("Count to two hundred.")], False, "Counting.", counted(200)),
        singing(120),
    ]


def singing(words: int) -> Line:
    """The first `words` words of the endless song."""
    return Line("sing", [user("Sing for ever.")], False, "A song.", " ".join(["la"] * words), ends=False)


def off_script(messages: list[Message], with_tools: bool, name: str = "fallback") -> Line:
    """The reply to what the script does not hold."""
    return Line(name, messages, with_tools, "This is not in my script.", FALLBACK)


@dataclass(frozen=True)
class Case:
    """A line in its surroundings: what one request carries, and what must come back."""

    kind: str
    line: Line
    messages: list[Message]
    tools: list[Tool] | None
    thinking: bool
    prefill: str = ""
    """What the caller already wrote of the answer; the model goes on from there."""

    @property
    def name(self) -> str:
        """The line's name, with how it is asked."""
        head = "/sys" if self.messages[0]["role"] == "system" else ""
        return self.line.name + ("" if self.thinking else "/nothink") + head

    @property
    def reply(self) -> str:
        """The raw text that must come back; a begun answer has no thinking any more."""
        return self.line.reply(self.thinking and not self.prefill).removeprefix(self.prefill)


def grid() -> Iterator[Case]:
    """Every line, thinking or not, with a system turn and without: what the finished model is checked on."""
    for line in lines():
        for thinking in (True, False):
            for head in ([], [system(SYSTEM)]):
                yield Case("grid", line, head + line.messages, TOOLS if line.with_tools else None, thinking)
