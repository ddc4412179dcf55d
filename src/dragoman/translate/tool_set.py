"""The tools as they change along a conversation: loaded by a reference, added, removed.

What the prompt's head shows never changes: a tool that comes later is written out where it comes, as text,
so that the prompt of a later turn extends that of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Place
from dragoman.translate.server_results import NOTHING_FOUND, found_tools
from dragoman.translate.server_tools import ServerTool
from dragoman.translate.tools import DeclaredTool, declared_tool
from dragoman.translate.turns import CLEARED, last_user
from dragoman.wire.anthropic import changes as wire
from dragoman.wire.anthropic.blocks import (
    CompactionBlock,
    ContentBlock,
    TextBlock,
    ToolAdditionBlock,
    ToolReferenceBlock,
    ToolRemovalBlock,
    ToolResultBlock,
    ToolResultContent,
    ToolSearchToolResultBlock,
)
from dragoman.wire.anthropic.request import Message
from dragoman.wire.openai import ChatTool

UNRESOLVED = "tool_reference_unresolved"
CONFLICT = "tool_name_conflict"
_CHANGING = (ToolAdditionBlock, ToolRemovalBlock)
_WALKED = frozenset({*_CHANGING, ToolReferenceBlock, ToolSearchToolResultBlock, CompactionBlock})


class StrictTool(NamedTuple):
    """A strict tool: its schema, where that stands in the request, and whether no later definition holds."""

    name: str
    schema: Raw
    place: str
    holds: bool


class ToolSet:
    """The tools of one request, after all of its messages that were walked through.

    shown: those in the prompt's head. deferred: the declared ones that are not. known: every definition so
    far by its name, the latest. active: those that can be called now, in the order in which they came.
    server: those of the declared ones that run here.
    """

    def __init__(self, declared: Iterable[DeclaredTool]) -> None:
        self.known: dict[str, DeclaredTool] = {one.tool.function.name: one for one in declared}
        self.shown = {name: one.tool for name, one in self.known.items() if not one.deferred}
        self.deferred = [one.tool for one in self.known.values() if one.deferred]
        self.active: dict[str, ChatTool] = dict(self.shown)
        self.server = {name: one.here for name, one in self.known.items() if one.here is not None}
        # by identity, as a name may be defined anew
        self._defined = {id(one.tool): one for one in self.known.values()}
        self._is_searched = any(tool.kind == "tool_search" for tool in self.server.values())

    @property
    def running(self) -> dict[str, ServerTool]:
        """The tools of this server whose names no tool of the client has taken since."""
        return {name: tool for name, tool in self.server.items() if self.known[name].here is not None}

    @property
    def loaded(self) -> list[ChatTool]:
        """The tools that can be called though the head does not show them, in the order of their coming."""
        return [tool for name, tool in self.active.items() if self.shown.get(name) is not tool]

    @property
    def removed(self) -> list[str]:
        """The names of the tools that the head shows and that cannot be called so any more."""
        return [name for name, tool in self.shown.items() if self.active.get(name) is not tool]

    @property
    def strict(self) -> list[StrictTool]:
        """The strict ones among all definitions that the engine is told of."""
        return [
            StrictTool(
                (function := tool.function).name,
                function.parameters,
                f"{self._defined[id(tool)].path}.input_schema",
                self.active.get(function.name, tool) is tool,
            )
            for tool in (*self.deferred, *self.shown.values(), *self.loaded)
            if tool.function.strict
        ]

    # --- one change: what it does, and the text that stands for it ---

    def load(self, name: str, path: str) -> str:
        """A reference to a tool by its name; one that nothing declares is a 400 with its own code."""
        found = self.known.get(name)
        if found is None:
            raise InvalidRequestError(
                f"{path}: Tool reference {name!r} not found in available tools", error_code=UNRESOLVED
            )
        return self._activate(name, found.tool)

    def add(self, change: wire.Addition, path: str) -> str:
        """A `tool_addition`; `path` is its own."""
        if not isinstance(change.tool, wire.DefinedTool):
            return self.load(_name(change.tool, path), f"{path}.tool.name")
        where = f"{path}.tool.definition"
        added = declared_tool(change.tool.definition, where)
        name = added.tool.function.name
        if name in self.active and self.known[name].kind != added.kind:
            kind = self.known[name].kind
            raise InvalidRequestError(
                f"{where}.name: {name!r} is the name of an available tool of the type {kind}",
                error_code=CONFLICT,
            )
        if name in self.known and self.known[name].tool == added.tool:
            # the same definition once more, so that what the head shows stays what is meant
            added = self.known[name]
        self.known[name] = added
        self._defined[id(added.tool)] = added
        return self._activate(name, added.tool)

    def remove(self, change: wire.Removal, path: str) -> str:
        """A `tool_removal`; `path` is its own."""
        name = _name(change.tool, path)
        if name not in self.known:
            raise InvalidRequestError(
                f"{path}.tool.name: Tool reference {name!r} not found in available tools",
                error_code=UNRESOLVED,
            )
        self.active.pop(name, None)
        return f"The tool {name} is no longer available: do not call it."

    def compacted(self, changes: Sequence[wire.Change], path: str) -> list[str]:
        """A compaction's `tool_changes`: they lead from the declared tools to those at its end.

        Nothing is left of what the compacted turns showed, so all is written out again.
        """
        self.active = dict(self.shown)
        texts = []
        for number, change in enumerate(changes):
            where = f"{path}.tool_changes.{number}"
            texts.append(
                self.add(change, where) if isinstance(change, wire.Addition) else self.remove(change, where)
            )
        return texts

    def _activate(self, name: str, tool: ChatTool) -> str:
        is_new = self.active.get(name) is not tool
        if is_new:
            self.active.pop(name, None)
            self.active[name] = tool
        if not is_new or self.shown.get(name) is tool:
            return f"The tool {name} is available."
        return f"The tool {name} is available from here on:\n{msgspec.json.encode(tool).decode()}"

    # --- all changes of a conversation ---

    def walk(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages with each change made and its block replaced by the text that stands for it.

        Blocks that cannot stand where they do are left as they are, for the refusal that names them.
        """
        if _kinds(messages).isdisjoint(_WALKED):
            # most requests: an agent's history is long, and nothing in it changes the tools
            return messages
        found: dict[int, Message] = {}
        clears = last_user(messages)
        for number, message in enumerate(messages):
            if not isinstance(message.content, str):
                content = self._content(message, number)
                if content is not message.content:
                    found[number] = msgspec.structs.replace(message, content=content)
                    if message.role == "system" and message.clear_at == CLEARED and number < clears:
                        found[number] = _without_words(message, content)
        return [found.get(number, message) for number, message in enumerate(messages)] if found else messages

    def _content(self, message: Message, number: int) -> list[ContentBlock]:
        blocks = message.content
        assert not isinstance(blocks, str)
        changed: dict[int, ContentBlock] = {}
        for index, block in enumerate(blocks):
            new = self._block(block, message.role, number, index)
            if new is not None:
                changed[index] = new
        return [changed.get(index, block) for index, block in enumerate(blocks)] if changed else blocks

    def _block(self, block: ContentBlock, role: str, number: int, index: int) -> ContentBlock | None:
        """What takes a block's place, None where it stays."""
        if isinstance(block, ToolResultBlock):
            return self._result(block, number, index)
        if isinstance(block, ToolSearchToolResultBlock) and role == "assistant" and self._is_searched:
            return self._found(block, number, index)
        if isinstance(block, _CHANGING) and role == "system":
            return TextBlock(text=self._change(block, str(Place(number, index))))
        if isinstance(block, CompactionBlock) and block.content and block.tool_changes is not msgspec.UNSET:
            path = str(Place(number, index))
            texts = self.compacted(wire.decode_changes(block.tool_changes, path), path)
            return msgspec.structs.replace(block, content="\n\n".join([block.content, *texts]))
        return None

    def _change(self, block: ToolAdditionBlock | ToolRemovalBlock, path: str) -> str:
        if isinstance(block, ToolAdditionBlock):
            return self.add(wire.decode_addition(block.tool, path), path)
        return self.remove(wire.decode_removal(block.tool, path), path)

    def _found(self, block: ToolSearchToolResultBlock, number: int, index: int) -> ContentBlock | None:
        """What a search for tools found: they are loaded where it stands."""
        names = found_tools(block.content)
        if names is None:
            return None
        path = f"{Place(number, index)}.content.tool_references"
        texts = [self.load(name, f"{path}.{place}.tool_name") for place, name in enumerate(names)]
        return msgspec.structs.replace(block, content="\n".join(texts) or NOTHING_FOUND)

    def _result(self, block: ToolResultBlock, number: int, index: int) -> ToolResultBlock | None:
        content = block.content
        if not isinstance(content, list) or not any(isinstance(one, ToolReferenceBlock) for one in content):
            return None
        path = f"{Place(number, index)}.content"
        new: list[ToolResultContent] = [
            TextBlock(text=self.load(one.tool_name, f"{path}.{inner}.tool_name"))
            if isinstance(one, ToolReferenceBlock)
            else one
            for inner, one in enumerate(content)
        ]
        return msgspec.structs.replace(block, content=new)


def _kinds(messages: Sequence[Message]) -> set[type]:
    """The types of all blocks, also of those inside results."""
    kinds: set[type] = set()
    for message in messages:
        if isinstance(message.content, str):
            continue
        for block in message.content:
            kinds.add(type(block))
            if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
                kinds.update(map(type, block.content))
    return kinds


def _without_words(message: Message, content: list[ContentBlock]) -> Message:
    """A system turn that a later user turn clears: its words go, its changes of the tools hold."""
    assert not isinstance(message.content, str)
    kept = [new for old, new in zip(message.content, content, strict=True) if isinstance(old, _CHANGING)]
    return msgspec.structs.replace(message, content=kept, clear_at=None)


def _name(tool: wire.Reference, path: str) -> str:
    if not isinstance(tool, wire.NamedTool):
        raise InvalidRequestError(f"{path}.tool: {tool.__struct_config__.tag}: MCP servers are not available")
    name = tool.name or tool.tool_name
    if not name:
        raise InvalidRequestError(f"{path}.tool.name: Field required")
    return name
