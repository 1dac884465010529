"""How large is a run, and who may change what?

A profile is a TOML file: ``smoke`` for tests, ``quick`` for the book in minutes, ``evidence`` for what verdicts rest
on, ``full`` for the thesis' own scale. Its section of a table holds panels, and a panel states the fields of the
table's ``Cell``, whose annotations check them. Lists under the axes of the table's ``GRID`` make the grid: every
combination is a cell.

Conventions: keys of a section that are no panels are shared by all its panels. A profile that ``extends`` another
states what differs; a panel that it lacks, or one with an empty axis, is not run. ``--set key=value`` changes one key
of a panel; an unknown key is refused with the nearest valid one.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infocap.study.fields import Options

__all__ = ["Panel", "Profile", "ProfileError", "load", "names"]


class ProfileError(ValueError):
    """A profile that cannot be used; the message names the key and what is accepted."""


@dataclass(frozen=True)
class Panel:
    """The cells of one panel, and the fields that the entries of its ``Options`` axis state."""

    cells: tuple[Any, ...]
    options: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Profile:
    """All cells of a run.

    Attributes:
        name: Such as ``quick``.
        device: ``cpu`` or ``cuda``.
        computes: Whether building the book computes missing cells, or shows what is stored.
        panels: By table, then by panel.
    """

    name: str
    device: str
    computes: bool
    panels: Mapping[str, Mapping[str, Panel]]

    def cells(self, table: str) -> list[Any]:
        """The cells of a table, panel by panel; a cell that two panels share comes once."""
        return list(dict.fromkeys(cell for panel in self.panels[table].values() for cell in panel.cells))


def names(folder: Path) -> list[str]:
    """The profiles that a folder holds."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(tables: Mapping[str, ModuleType], folder: Path, name: str, settings: Sequence[str] = ()) -> Profile:
    """Reads a profile and applies settings.

    Args:
        tables: By name ``part/table``. A module has ``Cell``, ``GRID`` and, where these differ from the usual,
            ``SECTION`` (the dotted key of its section; usually the table's name) and ``PANEL`` (the field that holds
            the panel's name; usually ``panel``, if the cell has it). In place of ``GRID`` it may have ``PANELS``, the
            same cells for every profile.
        folder: Holds a TOML file for each profile.
        name: Of a profile, such as ``quick``.
        settings: Strings ``key=value``; the key is dotted, the value is written as in TOML (quotes around a string
            may be left out).

    Returns:
        The checked profile.

    Raises:
        ProfileError: The first fault: the key, what came, what is accepted.
    """
    content = _read(folder, name)
    try:
        profile = _checked(tables, name, content)
    except ProfileError as error:
        raise ProfileError(f"{folder / name}.toml: {error}") from None
    if not settings:
        return profile
    known = ["device", *_known(tables, content)]
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
            target = target[parent]
        target[last] = _value(value)
    return _checked(tables, name, content)


def _read(folder: Path, name: str, children: tuple[str, ...] = ()) -> dict[str, Any]:
    key, known = "extends" if children else "profile", names(folder)
    if name not in known or name in children:
        raise ProfileError(f"{key}: no profile {_shown(name)}; accepted: {', '.join(sorted({*known} - {*children}))}")
    path = folder / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of other encodings, and of integers with too many digits
        raise ProfileError(f"{path}: not a TOML file ({error})") from None
    parent = content.pop("extends", None)
    return content if parent is None else _merged(_read(folder, parent, (*children, name)), content)


def _merged(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    merged = dict(parent)
    for key, value in child.items():
        both = isinstance(value, dict) and isinstance(parent.get(key), dict)
        merged[key] = _merged(parent[key], value) if both else value
    return merged


def _checked(tables: Mapping[str, ModuleType], name: str, content: dict[str, Any]) -> Profile:
    device, computes = content.get("device", "cpu"), content.get("computes", True)
    if device not in ("cpu", "cuda"):
        raise ProfileError(f"device: got {_shown(device)}; accepted: cpu, cuda")
    if not isinstance(computes, bool):
        raise ProfileError(f"computes: got {_shown(computes)}; accepted: true, false")
    places = {table: _place(table, module) for table, module in tables.items()}
    parts: dict[str, list[str]] = {}
    for place in places.values():
        parts.setdefault(place.split(".")[0], []).extend(place.split(".")[1:])
    _only_known(content, "", ["device", "computes", *parts])
    for part, sections in parts.items():
        if part not in places.values():
            _only_known(_table(content, part, part), part, sections)
    panels = {}
    for table, module in tables.items():
        if hasattr(module, "PANELS"):
            panels[table] = {key: Panel(tuple(cells)) for key, cells in module.PANELS.items()}
        else:
            panels[table] = {
                key: Panel(*_cells(module, f"{places[table]}.{key}", key, settings, device))
                for key, settings in _sections(content, places[table])
            }
    return Profile(name, device, computes, panels)


def _place(table: str, module: ModuleType) -> str:
    return getattr(module, "SECTION", table.replace("/", "."))


def _sections(content: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The panels of a section, with what they share."""
    section = content
    for word in place.split("."):
        section = _table(section, word, place)
    shared = {key: value for key, value in section.items() if not isinstance(value, dict)}
    yield from ((key, shared | panel) for key, panel in section.items() if isinstance(panel, dict))


def _table(content: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise ProfileError(f"{place}: got {_shown(table)}; accepted: a table")
    return table


def _accepted(module: ModuleType) -> tuple[list[str], list[str]]:
    """The keys of a panel, and those of an entry of its ``Options`` axis."""
    given = {getattr(module, "PANEL", "panel"), "device"}
    names = [field.name for field in fields(module.Cell) if field.name not in given]
    on_axes = {name for axis in module.GRID.values() if axis is not Options for name in _names(axis)}
    plain = [name for name in names if name not in on_axes]
    return [*plain, *(axis for axis in module.GRID if axis not in plain)], [*plain, *module.GRID]


def _names(axis: Any) -> tuple[str, ...]:
    return (axis,) if isinstance(axis, str) else axis


def _cells(
    module: ModuleType, place: str, name: str, settings: dict[str, Any], device: str
) -> tuple[tuple[Any, ...], frozenset[str]]:
    """The cells of a panel, and the fields that entries of ``Options`` state."""
    keys, entry_keys = _accepted(module)
    _only_known(settings, place, keys)
    grid = [(settings, {})]  # what is stated, and where each field was: the axis comes from an entry, too
    stated: set[str] = set()
    for axis, target in module.GRID.items():
        longer = []
        for values, places in grid:
            if axis not in values:
                longer.append((values, places))
                continue
            rest = {key: value for key, value in values.items() if key != axis}
            if not isinstance(values[axis], list):
                raise ProfileError(f"{place}.{axis}: got {_shown(values[axis])}; accepted: a list")
            for number, value in enumerate(values[axis]):
                here = f"{axis}.{number}"
                if target is Options:
                    if not isinstance(value, dict):
                        raise ProfileError(f"{place}.{here}: got {_shown(value)}; accepted: a table of fields")
                    _only_known(value, f"{place}.{here}", entry_keys)
                    stated |= value.keys()
                    longer.append((rest | value, places | {key: f"{here}.{key}" for key in value}))
                else:
                    own = _names(target)
                    longer.append((rest | dict.fromkeys(own, value), places | dict.fromkeys(own, here)))
        grid = longer
    facts = {getattr(module, "PANEL", "panel"): name, "device": device}
    facts = {field.name: facts[field.name] for field in fields(module.Cell) if field.name in facts}
    return tuple(_cell(module, place, values | facts, places) for values, places in grid), frozenset(stated)


def _cell(module: ModuleType, place: str, values: dict[str, Any], places: dict[str, str]) -> Any:
    axes = {name: axis for axis, target in module.GRID.items() if target is not Options for name in _names(target)}
    for field in fields(module.Cell):
        if field.name not in values and field.default is MISSING:
            raise ProfileError(f"{place}.{axes.get(field.name, field.name)}: missing")
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ProfileError(f"{place}.{places.get(name, name)}: got {value}; accepted: a finite number")
    try:
        return _adapter(module.Cell).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        message = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:  # of __post_init__: several fields together
            raise ProfileError(f"{place}: {message}") from None
        name, *rest = map(str, fault["loc"])
        where = ".".join([place, places.get(name, name), *rest])
        raise ProfileError(f"{where}: got {_shown(fault['input'])}; {message[0].lower()}{message[1:]}") from None


@cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def _only_known(content: dict[str, Any], place: str, accepted: Sequence[str]) -> None:
    for key, value in content.items():
        if key not in accepted:
            where = f"{place}.{key[:100]}" if place else key[:100]
            came = "" if isinstance(value, dict) else f": got {_shown(value)}"  # a table says too much
            raise ProfileError(f"{where}{came}; no such key; accepted: {', '.join(accepted)}")


def _known(tables: Mapping[str, ModuleType], content: dict[str, Any]) -> Iterator[str]:
    """The dotted keys of all panels."""
    places = {table: _place(table, module) for table, module in tables.items() if not hasattr(module, "PANELS")}
    for table, place in places.items():
        for key, _ in _sections(content, place):
            yield from (f"{place}.{key}.{name}" for name in _accepted(tables[table])[0])


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
