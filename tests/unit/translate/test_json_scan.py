"""The scanner of arguments, held against two JSON parsers: ours (msgspec) and the official SDK's (jiter)."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jiter import from_json

from dragoman.translate.json_scan import MAX_DEPTH, MAX_NUMBER, ArgumentScanner, ArgumentsError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES)
NESTED = '{"a":' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"


@st.composite
def object_texts(draw: st.DrawFn) -> str:
    """The text of an object, in one of the spellings of JSON."""
    value = draw(OBJECTS)
    return json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    """The text of an object in fragments."""
    text = draw(object_texts())
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def scan(*fragments: str) -> ArgumentScanner:
    """A scanner that took these."""
    scanner = ArgumentScanner()
    for fragment in fragments:
        scanner.feed(fragment)
    return scanner


def firm(scanner: ArgumentScanner, text: str) -> bytes:
    """The text without a number at its end that may go on."""
    return text[: len(text) - scanner.loose].encode()


@given(cut_texts())
def test_an_object_is_complete_at_its_last_character(fragments: list[str]) -> None:
    scanner = scan(*fragments[:-1], fragments[-1][:-1])
    text = "".join(fragments)
    assert scanner.complete is (not fragments[-1])
    scanner = scan(*fragments)
    assert scanner.complete
    assert scanner.partial(text) == text


@given(object_texts(), st.data())
def test_a_beginning_reads_as_the_sdk_reads_it(text: str, data: st.DataObject) -> None:
    cut = text[: data.draw(st.integers(1, len(text)))]
    scanner = scan(cut)
    partial = scanner.partial(cut)
    assert msgspec.json.decode(partial) == json.loads(partial)
    assert json.loads(partial) == from_json(firm(scanner, cut), partial_mode=True)


@given(st.text(alphabet='{}[]",:\\u0dD8cCeE+-.1 \nabtrufalsn"/x', max_size=30))
@example("{}")
def test_what_it_accepts_the_sdk_reads_and_only_objects_are_complete(tail: str) -> None:
    text = "{" + tail
    try:
        scanner = scan(text)
    except ArgumentsError:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(text, type=dict)
        return
    assert from_json(firm(scanner, text), partial_mode=True) == json.loads(scanner.partial(text))
    assert scanner.complete is _is_object(text)


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "partial"),
    [
        ('{"a": 12', "{}"),
        ('{"a": 12 ', '{"a": 12}'),
        ('{"a": [1, 2', '{"a": [1]}'),
        ('{"a": 12,', '{"a": 12}'),
        ('{"a": 1.', "{}"),
        ('{"a": -', "{}"),
        ('{"a": tr', "{}"),
        ('{"a": "x', "{}"),
        ('{"a": [1, "b', '{"a": [1]}'),
        ('{"a": {"b":1, "c', '{"a": {"b":1}}'),
        ('{"a": {"b":', '{"a": {}}'),
        ('{"a":"b","a":"c', '{"a":"b"}'),
        ('{"a":"\\ud83d', "{}"),
        (" \n{", " \n{}"),
        ("  ", "{}"),
        ("", "{}"),
    ],
)
def test_only_complete_members_are_in_a_partial_object(text: str, partial: str) -> None:
    assert scan(text).partial(text) == partial
    assert scan(*text).partial(text) == partial


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", "null", '"a"', "}", "{,", "{1", '{"a"1', '{"a":}', '{"a":,', '{"a":1]', '{"a":[1}',
        '{"a":1,}', '{"a":[1,]', '{"a":01', '{"a":1.e', '{"a":+1', '{"a":.5', '{"a":1e,', '{"a":-a',
        '{"a":trux', '{"a":NaN', '{"a":Infinity', '{"a":"\n', '{"a":"\\x', '{"a":"\\ug', '{"a":"\\udc00',
        '{"a":"\\ud800"', '{"a":"\\ud800\\n', '{"a":"\\ud800\\u0041', "{'a'", "{} x", "{}{}",
        '{"a":1}{"a":1}', "\ufeff{", "\x0b{", '{"a":1 2',
    ],
)  # fmt: skip
def test_text_that_begins_no_object_is_refused(text: str) -> None:
    for fragments in ([text], list(text)):
        with pytest.raises(ArgumentsError, match=r"no JSON object at character \d+"):
            scan(*fragments)


def test_the_place_is_named_and_the_text_is_not() -> None:
    scanner = scan('{"key": ')
    with pytest.raises(ArgumentsError) as caught:
        scanner.feed("12 secret")
    assert str(caught.value) == "no JSON object at character 11"


def test_white_space_after_the_object_is_ignored_and_counts_not_to_it() -> None:
    scanner = ArgumentScanner()
    assert scanner.feed(' {"a": 1} \n') == 9
    assert scanner.feed("\n") == 0
    assert scanner.feed("") == 0
    assert scanner.complete


def test_it_has_begun_with_the_opening_brace() -> None:
    assert [scan(*fragments).begun for fragments in ("", " ", " \n", " \n{")] == [False, False, False, True]
    assert not scan(" {").complete


@pytest.mark.parametrize(
    ("text", "loose"),
    [('{"a": 12', 2), ('{"a": 12 ', 0), ('{"a": [0, -1.5e+', 6), ('{"a": "12', 0), ("{}", 0), ("", 0)],
)
def test_a_number_at_the_end_may_go_on(text: str, loose: int) -> None:
    assert scan(text).loose == scan(*text).loose == loose


def test_depth_has_the_bound_of_the_sdks_parser() -> None:
    assert scan(NESTED).complete
    from_json(NESTED.encode(), partial_mode=True)
    with pytest.raises(ArgumentsError):
        scan('{"a":' + "[" * MAX_DEPTH)


@pytest.mark.parametrize("begin", ['{"a":', '{"a":-', '{"a":[0,'])
def test_numbers_have_the_bound_of_the_sdks_parser(begin: str) -> None:
    digits = "1" * (MAX_NUMBER - 1)
    assert scan(begin, *digits, "]}" if "[" in begin else "}").complete
    from_json((begin + digits).encode(), partial_mode=True)
    for fragments in (["111"], [*"111"], ["111}"]):
        with pytest.raises(ArgumentsError):
            scan(begin + digits, *fragments)
