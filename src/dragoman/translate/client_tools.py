"""The tools that the API defines and a client runs: their names, what they do, what they take, as data.

No schema travels with them, for the API's own models know them; here each is a function like any other.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.request import Tool


class Known(msgspec.Struct, frozen=True):
    """A tool type: the name that it must be declared under, and what the model is told."""

    name: str
    description: str
    parameters: Raw


def _text(about: str, *values: str) -> dict[str, Any]:
    return {"type": "string", "description": about} | ({"enum": list(values)} if values else {})


def _number(about: str, kind: str = "integer") -> dict[str, Any]:
    return {"type": kind, "description": about}


def _numbers(about: str, count: int) -> dict[str, Any]:
    items = {"type": "integer"}
    return {"type": "array", "description": about, "items": items, "minItems": count, "maxItems": count}


def _schema(properties: dict[str, Any], *required: str) -> Raw:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Raw(msgspec.json.encode(schema))


_BASH = Known(
    "bash",
    "Runs a command in a bash shell that stays open between calls: its working directory, variables and "
    "running programs are kept. Give `command`, or `restart` where the shell no longer answers.",
    _schema(
        {
            "command": _text("The command to run; required unless `restart` is true."),
            "restart": {"type": "boolean", "description": "True starts a new shell in place of this one."},
        }
    ),
)

_VIEW_RANGE = _numbers(
    "For view of a file: the first and the last line to show, counted from 1; -1 as the last one is the "
    "end of the file.",
    2,
)
_OLD = _text("For str_replace: the text to replace. It must stand in the file exactly once, to the space.")


def _editor(name: str, commands: tuple[str, ...], inserted: str, undo: str = "") -> Known:
    """A version of the text editor; `inserted` is its name for the text of an insertion."""
    new = {"new_str": _text("For str_replace: the text that takes its place; empty where left out.")}
    if inserted == "new_str":
        about = "For str_replace: the text that takes its place. For insert: the text to insert."
        new = {"new_str": _text(about)}
    else:
        new[inserted] = _text("For insert: the text to insert.")
    properties = {
        "command": _text("What to do.", *commands),
        "path": _text("The file or directory."),
        "file_text": _text("For create: all that the new file holds."),
        "old_str": _OLD,
        **new,
        "insert_line": _number("For insert: the number of the line behind which to insert; 0 is the start."),
        "view_range": _VIEW_RANGE,
    }
    description = (
        "Views and edits text files. view shows a file with numbered lines, or lists a directory; create "
        "writes a new file; str_replace replaces one piece of text by another; insert adds text behind a "
        f"line{undo}."
    )
    return Known(name, description, _schema(properties, "command", "path"))


_COMMANDS = ("view", "create", "str_replace", "insert")
_OLD_EDITOR = _editor(
    "str_replace_editor",
    (*_COMMANDS, "undo_edit"),
    "new_str",
    "; undo_edit takes back the last edit of a file",
)
_EDITOR = _editor("str_replace_based_edit_tool", _COMMANDS, "insert_text")

_MEMORY = Known(
    "memory",
    "Keeps notes in files under /memories that outlast this conversation. Look there before you begin a "
    "task, and write down what will be of use later. view shows a file, or lists a directory; create "
    "writes a file; str_replace replaces a piece of text in one; insert adds text behind a line; delete "
    "removes a file or directory; rename moves one.",
    _schema(
        {
            "command": _text("What to do.", *_COMMANDS, "delete", "rename"),
            "path": _text("The file or directory, for every command but rename: /memories or below it."),
            "view_range": _VIEW_RANGE,
            "file_text": _text("For create: all that the file holds."),
            "old_str": _OLD,
            "new_str": _text("For str_replace: the text that takes its place."),
            "insert_line": _number("For insert: the number of the line behind which to insert, from 0."),
            "insert_text": _text("For insert: the text to insert."),
            "old_path": _text("For rename: where the file or directory is."),
            "new_path": _text("For rename: where it goes."),
        },
        "command",
    ),
)

_FIRST_ACTIONS = (
    *("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click"),
    *("double_click", "screenshot", "cursor_position"),
)
_LATER_ACTIONS = ("left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click")
_ZOOM = "zoom"
_SCREEN = (
    "Uses a computer through its screen, mouse and keyboard. The screen is {width} pixels wide and {height} "
    "high{display}; a coordinate is [x, y] in pixels from its upper left corner. Take a screenshot to see "
    "where things are, click in the middle of what you mean, and look at what an action did before the next."
)


def _computer(actions: tuple[str, ...]) -> Known:
    properties: dict[str, Any] = {
        "action": _text("What to do.", *actions),
        "coordinate": _numbers("Where, as [x, y]: of a move, a click, a scroll, or the end of a drag.", 2),
        "text": _text("For type: the text. For key: a key or keys held together, like ctrl+s."),
    }
    if "scroll" in actions:
        properties["text"] = _text(
            "For type: the text. For key and hold_key: a key or keys held together, like ctrl+s. For clicks "
            "and scroll: a key to hold meanwhile, if any."
        )
        properties |= {
            "start_coordinate": _numbers("For left_click_drag: where it begins, as [x, y].", 2),
            "scroll_direction": _text("For scroll: which way.", "up", "down", "left", "right"),
            "scroll_amount": _number("For scroll: how many notches of the wheel."),
            "duration": _number("For hold_key and wait: how many seconds.", "number"),
        }
    if _ZOOM in actions:
        about = "For zoom: the part of the screen to see in full detail, as [left, top, right, bottom]."
        properties["region"] = _numbers(about, 4)
    return Known("computer", _SCREEN, _schema(properties, "action"))


_COMPUTER = _computer((*_FIRST_ACTIONS, *_LATER_ACTIONS))
_ZOOMING = _computer((*_FIRST_ACTIONS, *_LATER_ACTIONS, _ZOOM))

KNOWN_TOOLS: dict[str, Known] = {
    "bash_20241022": _BASH,
    "bash_20250124": _BASH,
    "text_editor_20241022": _OLD_EDITOR,
    "text_editor_20250124": _OLD_EDITOR,
    "text_editor_20250429": _EDITOR,
    "text_editor_20250728": _EDITOR,
    "memory_20250818": _MEMORY,
    "computer_20241022": _computer(_FIRST_ACTIONS),
    "computer_20250124": _COMPUTER,
    "computer_20251124": _COMPUTER,
}
_CUTS = "text_editor_20250728"
_ZOOMS = "computer_20251124"


def known_tool(tool: Tool, path: str) -> Known:
    """What is known of a tool whose type is one of `KNOWN_TOOLS`, with what its declaration sets."""
    kind = str(tool.type)
    known = KNOWN_TOOLS[kind]
    if tool.name is None:
        raise InvalidRequestError(f"{path}.name: Field required")
    if tool.name != known.name:
        raise InvalidRequestError(f"{path}.name: Input should be {known.name!r}")
    for field, value in (("input_schema", tool.input_schema), ("description", tool.description)):
        # the model would not see them, as the type has its own
        if value is not None and value is not msgspec.UNSET:
            raise InvalidRequestError(f"{path}.{field}: Extra inputs are not permitted for {kind}")
    if known.name == "computer":
        return _on_screen(_ZOOMING if kind == _ZOOMS and tool.enable_zoom else known, tool, path)
    if kind == _CUTS and tool.max_characters is not None:
        _at_least(tool.max_characters, 1, f"{path}.max_characters")
        limit = f" view shows at most {tool.max_characters} characters of a file."
        return msgspec.structs.replace(known, description=known.description + limit)
    return known


def _on_screen(known: Known, tool: Tool, path: str) -> Known:
    for field, value in (
        ("display_width_px", tool.display_width_px),
        ("display_height_px", tool.display_height_px),
    ):
        if value is None:
            raise InvalidRequestError(f"{path}.{field}: Field required")
        _at_least(value, 1, f"{path}.{field}")
    display = ""
    if tool.display_number is not None:
        _at_least(tool.display_number, 0, f"{path}.display_number")
        display = f" (X11 display {tool.display_number})"
    description = known.description.format(
        width=tool.display_width_px, height=tool.display_height_px, display=display
    )
    return msgspec.structs.replace(known, description=description)


def _at_least(value: int, least: int, path: str) -> None:
    if value < least:
        raise InvalidRequestError(f"{path}: Input should be greater than or equal to {least}")
