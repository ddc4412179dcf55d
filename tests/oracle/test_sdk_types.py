"""Our types against those of the installed SDK: each difference has a row, each row a difference."""

from __future__ import annotations

import pytest

from tests.oracle.compare import Difference, all_differences, differences
from tests.oracle.differences import DIFFERENCES, Row
from tests.oracle.ours import our_shapes
from tests.oracle.sdk import sdk_shapes
from tests.oracle.shapes import Field, Shape, merged, tagged

FOUND = all_differences(sdk_shapes(), our_shapes())


def test_every_difference_has_a_reason() -> None:
    unexplained = [str(found) for found in FOUND if not rows_of(found)]
    assert unexplained == []


def test_every_row_still_explains_something() -> None:
    stale = [row for row in DIFFERENCES if not any(row.explains(found.path, found.what) for found in FOUND)]
    assert stale == []


def test_no_difference_has_two_reasons_of_different_kinds() -> None:
    torn = [str(found) for found in FOUND if len({row.kind for row in rows_of(found)}) > 1]
    assert torn == []


def rows_of(found: Difference) -> list[Row]:
    """The rows that explain a difference."""
    return [row for row in DIFFERENCES if row.explains(found.path, found.what)]


# --- the comparison itself: a release that changes anything is noticed ---

STRING = Shape(families=frozenset(["string"]))
ANY = Shape(families=frozenset(["any"]))
NULL = Shape(null=True)


def thing(**fields: Shape) -> Shape:
    """An object with these members, all optional."""
    return tagged({name: Field(shape, required=False) for name, shape in fields.items()})


def values(*literals: object) -> Shape:
    """Some literal values."""
    return Shape(literals=frozenset(literals))


@pytest.mark.parametrize(
    ("sdk", "ours", "found"),
    [
        (thing(a=STRING), thing(a=STRING), []),
        (thing(a=STRING, b=STRING), thing(a=STRING), ["x.b: missing"]),
        (thing(a=STRING), thing(a=STRING, b=STRING), ["x.b: ours"]),
        (thing(a=STRING), thing(a=ANY), ["x.a: opaque"]),
        (thing(a=ANY), thing(a=ANY), []),
        (values("a", "b"), values("a"), ["x=b: missing"]),
        (values("a"), values("a", "b"), ["x=b: ours"]),
        (values("a"), STRING, ["x: laxer (string)"]),
        (merged([values("a"), STRING]), STRING, []),
        (merged([STRING, NULL]), STRING, ["x: stricter (null)"]),
        (Shape(item=STRING), STRING, ["x: stricter (array)", "x: laxer (string)"]),
        (STRING, merged([STRING, Shape(item=STRING)]), ["x: laxer (array)"]),
        (Shape(item=values("a")), Shape(item=STRING), ["x[]: laxer (string)"]),
        (thing(type=values("a", "b")), thing(type=values("a", "c")), ["x:b: missing", "x:c: ours"]),
        (thing(type=values("a"), b=STRING), thing(type=values("a")), ["x:a.b: missing"]),
        (STRING, merged([STRING, thing(a=STRING)]), ["x: ours (object)"]),
        (merged([STRING, thing(a=STRING)]), STRING, ["x: missing (object)"]),
    ],
)
def test_a_difference_is_seen(sdk: Shape, ours: Shape, found: list[str]) -> None:
    assert [str(one) for one in differences("x", sdk, ours, incoming=True)] == found


@pytest.mark.parametrize(
    ("sdk", "ours", "found"),
    [(True, False, ["x.a: laxer (optional)"]), (False, True, ["x.a: stricter (required)"]), (True, True, [])],
)
def test_a_member_that_must_be_there_is_compared(sdk: bool, ours: bool, found: list[str]) -> None:
    shapes = [tagged({"a": Field(STRING, required=required)}) for required in (sdk, ours)]
    assert [str(one) for one in differences("x", shapes[0], shapes[1], incoming=True)] == found


def test_a_row_explains_by_its_pattern() -> None:
    row = Row("tool:bash_*", "missing", "refused", "")
    assert row.explains("tool:bash_20250124", "missing")
    assert not row.explains("tool:bash_20250124", "ours")
    assert not row.explains("xtool:bash_1", "missing")
