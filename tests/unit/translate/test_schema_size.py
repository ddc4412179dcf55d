"""The size of schemas with their references followed."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.translate.schema_size import UnknownReferenceError, followed_size

LEAF = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "size"),
    [
        (True, 1),
        (LEAF, 1),
        ({"properties": {"a": LEAF, "b": True}, "required": ["a"]}, 4),
        ({"items": LEAF, "$defs": {"unused": LEAF}, "default": {"a": 1}, "title": "t"}, 2),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [LEAF, LEAF]}}}, 4),
        ({"allOf": [{"$ref": "#/x~1y%C3%BC%25/0"}, {"$ref": "#/x~1yü%25/0"}], "x/yü%": [LEAF]}, 6),
        ({"properties": {"a": {"$ref": "#"}}}, 3),
        ({"items": {"$ref": "#here"}, "$defs": {"a": {"$anchor": "here", "not": LEAF}}}, 4),
        ({"items": {"$dynamicRef": "#here"}, "$defs": {"a": {"$dynamicAnchor": "here"}}}, 3),
        ({"items": {"$ref": "other"}, "$defs": {"a": {"$id": "other", "not": LEAF}}}, 4),
        (
            {
                "$defs": {"a": LEAF},
                "not": {"$id": "x", "$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [LEAF] * 5}}},
            },
            8,
        ),
    ],
)
def test_a_schema_counts_as_often_as_references_lead_to_it(schema: Any, size: int) -> None:
    assert followed_size(schema) == size


def test_a_large_number_takes_no_longer() -> None:
    defs: dict[str, Any] = {"a0": LEAF}
    for number in range(1, 61):
        defs[f"a{number}"] = {"anyOf": [{"$ref": f"#/$defs/a{number - 1}"}] * 3}
    assert followed_size({"$ref": "#/$defs/a60", "$defs": defs}) > 3**60


@pytest.mark.parametrize("reference", ["#/$defs/none", "#/type/x", "#/allOf/7", "#/allOf/x", "none", "#none"])
def test_a_reference_to_no_place_is_told(reference: str) -> None:
    with pytest.raises(UnknownReferenceError):
        followed_size({"type": "object", "$ref": reference, "allOf": [LEAF]})
