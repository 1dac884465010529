"""What may a field of a cell hold?

A cell's annotations are the schema of its section of a profile. These are the ones that many cells share; anything
that pydantic understands will do.

Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Cell:
    ...     n: AtLeast[8]
    ...     rate: Fraction = 0.0
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from infocap._registry import Registry

__all__ = ["AtLeast", "Fraction", "NonNegative", "Options", "Positive", "Share", "registered"]

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]  # of something that must not be all of it


class AtLeast:
    """``AtLeast[8]`` is an integer of 8 or more."""

    def __class_getitem__(cls, least: int) -> Any:
        return Annotated[int, Field(ge=least)]


class Options:
    """In a table's ``GRID``: an axis whose entries each state several fields."""


def registered(registry: Registry) -> Any:
    """A string that names a function of a registry."""

    def known(name: str) -> str:
        if name not in registry:
            registry[name]  # raises, and says what is accepted
        return name

    return Annotated[str, AfterValidator(known)]
