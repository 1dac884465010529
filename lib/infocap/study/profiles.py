"""How large is a run, and who may change what?

A profile is a TOML file checked by a pydantic model: ``smoke`` for tests, ``quick`` for the book in minutes, ``full``
for the thesis' own scale. ``--set key=value`` changes one key; an unknown key is refused with the nearest valid one.
"""

import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = ["ProfileError", "keys", "load"]

Model = TypeVar("Model", bound=BaseModel)


class ProfileError(ValueError):
    """A profile that cannot be used; the message names the key and what is accepted."""


def load(model: type[Model], path: Path, settings: Sequence[str] = ()) -> Model:
    """Reads a profile and applies settings.

    Args:
        model: The pydantic model that every profile must fit.
        path: A TOML file.
        settings: Strings ``key=value``; the key is dotted, the value is written as in TOML (quotes around a string
            may be left out).

    Returns:
        The checked profile.

    Raises:
        ProfileError: One line per fault: the key, what came, what is accepted.
    """
    if not path.exists():
        names = sorted(other.stem for other in path.parent.glob("*.toml"))
        raise ProfileError(f"profile: no profile {path.stem!r}; accepted: {', '.join(names)}")
    content = tomllib.loads(path.read_text(encoding="utf-8")) | {"name": path.stem}
    profile = _check(model, content)
    if not settings:
        return profile
    known = [key for key in keys(profile.model_dump()) if key != "name"]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ProfileError(f"set: got {setting!r}; accepted: key=value")
        if key not in known:
            raise ProfileError(f"set: no key {key!r}; the nearest is {get_close_matches(key, known, 1, 0)[0]!r}")
        *parents, last = key.split(".")
        target = content
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _value(value)
    return _check(model, content)


def keys(content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a nested dictionary, tables included."""
    for name, value in content.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check(model: type[Model], content: dict[str, Any]) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            place = ".".join(str(part) for part in fault["loc"])
            came = "" if isinstance(fault["input"], dict) else f": got {fault['input']!r}"  # a table says too much
            message = fault["msg"].removeprefix("Value error, ")
            wanted = f"{message[0].lower()}{message[1:]}"
            if fault["type"] == "extra_forbidden":
                wanted = f"no such key; accepted: {', '.join(_accepted(model, fault['loc'][:-1]))}"
            faults.append(f"{place}{came}; {wanted}")
        raise ProfileError("\n".join(faults)) from None


def _accepted(model: type[Model], place: Sequence[str | int]) -> list[str]:
    """The keys of the table at a place of the profile."""
    schema = node = model.model_json_schema()
    for part in place:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node
    return list(node["properties"])
