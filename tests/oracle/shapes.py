"""Types as shapes: what an SDK's type or one of our structs allows, said in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

UNTAGGED = ""


@dataclass(frozen=True)
class Field:
    """A member of an object; `required` means that it is always there."""

    shape: Shape
    required: bool


@dataclass(frozen=True)
class Shape:
    """Everything that may stand in one place.

    families: of string, integer, number, boolean, map (any object) and any. objects: by tag, "" for one that
    has none.
    """

    families: frozenset[str] = frozenset()
    literals: frozenset[object] = frozenset()
    null: bool = False
    item: Shape | None = None
    objects: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether nothing is said about what stands here, or about the keys of the object here."""
        return (
            not self.literals and not self.objects and self.item is None and self.families <= {"any", "map"}
        )


def merged(shapes: Iterable[Shape]) -> Shape:
    """The shape that allows whatever one of the shapes allows."""
    result = Shape()
    for shape in shapes:
        items = [item for item in (result.item, shape.item) if item is not None]
        result = Shape(
            families=result.families | shape.families,
            literals=result.literals | shape.literals,
            null=result.null or shape.null,
            item=merged(items) if items else None,
            objects=_merged_objects(result.objects, shape.objects),
        )
    # A list of well-known values beside any string says nothing more than the string.
    return replace(result, literals=frozenset()) if "string" in result.families else result


def _merged_objects(
    one: Mapping[str, Mapping[str, Field]], other: Mapping[str, Mapping[str, Field]]
) -> dict[str, Mapping[str, Field]]:
    return {tag: _merged_fields(one.get(tag, {}), other.get(tag, {})) for tag in {**one, **other}}


def _merged_fields(one: Mapping[str, Field], other: Mapping[str, Field]) -> dict[str, Field]:
    fields = {}
    for name in {**one, **other}:
        present = [fields[name] for fields in (one, other) if name in fields]
        fields[name] = Field(merged(f.shape for f in present), all(f.required for f in present))
    return fields


def tagged(fields: dict[str, Field], key: str = "type") -> Shape:
    """The shape of an object; a member `type` with literal values only is its tag, one object for each."""
    tag = fields.get(key)
    if tag is None or not tag.shape.literals or tag.shape.families:
        return Shape(objects={UNTAGGED: fields})
    rest = {name: member for name, member in fields.items() if name != key}
    return Shape(objects={str(value): rest for value in tag.shape.literals})
