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


def load(model: type[Model], folder: Path, name: str, settings: Sequence[str] = ()) -> Model:
    """Reads a profile and applies settings.

    Args:
        model: The pydantic model that every profile must fit.
        folder: Holds a TOML file for each profile.
        name: Of a profile, such as ``quick``.
        settings: Strings ``key=value``; the key is dotted, the value is written as in TOML (quotes around a string
            may be left out).

    Returns:
        The checked profile.

    Raises:
        ProfileError: The first fault: the key, what came, what is accepted; and how many more there are.
    """
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in names:
        raise ProfileError(f"profile: no profile {_shown(name)}; accepted: {', '.join(names)}")
    path = folder / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8")) | {"name": name}
    except (ValueError, RecursionError) as error:  # also of other encodings, and of integers with too many digits
        raise ProfileError(f"{path}: not a TOML file ({error})") from None
    try:
        profile = _check(model, content)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None
    if not settings:
        return profile
    known = [key for key in keys(profile.model_dump()) if key != "name"]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ProfileError(f"set: got {_shown(setting)}; accepted: key=value")
        if key not in known:
            near = get_close_matches(key[:100], known, 1, 0)[0]
            raise ProfileError(f"set: no key {_shown(key)}; the nearest is {near!r}")
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
        content = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return content["value"] if len(content) == 1 else text  # a line break may begin another key


def _shown(value: Any) -> str:
    """A value as a message quotes it: not by the page."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of more than 4300 digits"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


def _check(model: type[Model], content: dict[str, Any]) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        fault, *more = error.errors()
        place = ".".join(str(part)[:100] for part in fault["loc"])
        came = "" if isinstance(fault["input"], dict) else f": got {_shown(fault['input'])}"  # a table says too much
        message = fault["msg"].removeprefix("Value error, ")
        wanted = f"{message[0].lower()}{message[1:]}"
        if fault["type"] == "extra_forbidden":
            wanted = f"no such key; accepted: {', '.join(_accepted(model, fault['loc'][:-1]))}"
        others = f" (and {len(more)} more faults)" if more else ""
        raise ProfileError(f"{place}{came}; {wanted}{others}") from None


def _accepted(model: type[Model], place: Sequence[str | int]) -> list[str]:
    """The keys of the table at a place of the profile."""
    schema = node = model.model_json_schema()
    for part in place:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node
    return list(node["properties"])
