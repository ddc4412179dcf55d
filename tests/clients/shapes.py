"""What structured answers look like, as types of pydantic; `node/shapes.mjs` has the same for zod."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class Person(BaseModel):
    """The smallest one."""

    name: str
    age: int


class Place(BaseModel):
    """Inside of others."""

    street: Literal["ivy", "oak"]
    lit: bool


class House(BaseModel):
    """Holds a place."""

    place: Place
    floors: int


class Nested(BaseModel):
    """Objects in objects."""

    house: House
    since: date


class Color(Enum):
    """An enum of its own."""

    RED = "red"
    GREEN = "green"


class Enums(BaseModel):
    """Words and numbers of which one is chosen."""

    color: Color
    size: Literal["small", "large"]
    stars: Literal[1, 2, 3]
    always: Literal["yes"]


class Arrays(BaseModel):
    """Lists of values, of objects, and of lists."""

    tags: list[Literal["a", "b"]]
    places: list[Place]
    grid: list[list[bool]]


class Optional(BaseModel):
    """What may be null, and what may be left out."""

    age: int | None
    color: Color | None = None


class Cat(BaseModel):
    """One of two."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """The other one."""

    kind: Literal["dog"]
    good: bool


class Union(BaseModel):
    """Values of one kind or another."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: bool | int


class Shared(BaseModel):
    """One type in several places."""

    home: Place
    work: Place
    others: list[Place]


class Tree(BaseModel):
    """A type inside of itself."""

    lit: bool
    branches: list[Tree]


SHAPES: dict[str, Any] = {
    "person": Person,
    "nested": Nested,
    "enums": Enums,
    "arrays": Arrays,
    "optional": Optional,
    "union": Union,
    "shared": Shared,
    "tree": Tree,
}
