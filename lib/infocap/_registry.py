"""Functions by name, each in a file of its own: how do architectures and methods find their function?

A registry belongs to a package. A function enters it by a decorator in one of the package's modules, and is found when
its name is first asked for, so that nothing but its own file knows of it. The result of a cell therefore depends on
the file of the function that it names, and on no other file of the package.
"""

import contextlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import update_wrapper
from typing import Any

__all__ = ["Entry", "Registry"]


@dataclass(eq=False)  # not frozen: it takes on its function's attributes
class Entry:
    """A registered function; called, it passes its options on.

    Attributes:
        name: Its name in the registry.
        function: What was registered.
        options: Keyword arguments that each call receives.
        shows: What figures and tables print beside the name, by field of the cell.
    """

    name: str
    function: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    shows: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        update_wrapper(self, self.function)  # its module, docstring and signature

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **self.options, **options)


class Registry:
    """The functions of a package by name.

    Args:
        package: Name of the package whose modules register functions.
        attribute: Under which the package holds this registry.
        kind: What a function is, for messages: ``method``.
    """

    def __init__(self, package: str, attribute: str, kind: str):
        self.package, self.attribute, self.kind = package, attribute, kind
        self._entries: dict[str, Entry] = {}
        self._lent: dict[str, Entry] = {}
        self._complete = False

    def __reduce__(self):  # in another process it is that process' own registry
        return _of, (self.package, self.attribute)

    def register(self, name: str, *, shows: dict[str, str] | None = None, **options: Any) -> Callable:
        """Decorates a function: it is found under ``name``, and receives ``options`` at each call.

        Raises:
            ValueError: Another function has taken the name.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            if not function.__module__.startswith(f"{self.package}."):
                self._complete_now()  # so that a name of the package is not taken from outside
            taken = self._entries.get(name)
            if taken is not None and _place(taken.function) != _place(function):  # the same place: loaded anew
                owner = taken.function.__module__
                raise ValueError(f"name: {self.kind} {name!r} is taken by {owner}; accepted: another")
            self._entries[name] = Entry(name, function, options, shows or {})
            return function

        return decorate

    @contextlib.contextmanager
    def lent(self, name: str, function: Callable[..., Any]) -> Iterator[None]:
        """Inside, ``name`` stands for a function that no module registers, such as a reader's own."""
        before = self._lent.get(name)
        self._lent[name] = function if isinstance(function, Entry) else Entry(name, function)
        try:
            yield
        finally:
            if before is None:
                del self._lent[name]
            else:
                self._lent[name] = before

    def module(self, name: str) -> str:
        """The module whose code decides what ``name`` computes."""
        return self[name].function.__module__

    def __getitem__(self, name: str) -> Entry:
        for entries in (self._lent, self._entries):
            if name in entries:
                return entries[name]
        self._complete_now()
        if name not in self._entries:
            shown = str(name)[:80]
            near = get_close_matches(shown, self._entries, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{self.kind}: no {self.kind} {shown!r}; accepted: {', '.join(self)}{hint}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of files and in them of functions."""
        self._complete_now()
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._lent or name in list(self)

    def _complete_now(self) -> None:
        if not self._complete:
            self._complete = True
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                importlib.import_module(f"{self.package}.{module.name}")


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _of(package: str, attribute: str) -> Registry:
    return getattr(importlib.import_module(package), attribute)
