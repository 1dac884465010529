"""Which code made this number?

A chapter shows the source of its functions folded, read from their files when it runs, so that a page never shows a
copy. On a page of the book, and nowhere else, the names lead to the pages of the source.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from pygments.lexers import PythonLexer
from pygments.token import STANDARD_TYPES

__all__ = ["Source", "Sources", "code"]

_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Source:
    """Where a function or a class is written.

    Attributes:
        name: As it is called in its module: ``fit``, ``Table.panel``.
        file: Path of its file, relative to the folder of the package: ``infocap/training/loop.py``. Of what a notebook
            defines it is ``this notebook``.
        line: Number of the first line in the file, decorators included.
        text: All lines.
        target: ``module#name``, from which the book makes a link.
        names: The same for each function or class that the text names, by line from 1 and column from 0.
    """

    name: str
    file: str
    line: int
    text: str
    target: str
    names: dict[tuple[int, int], str]


class Sources(tuple[Source, ...]):
    """Sources that a notebook shows folded, one below the other."""

    def __repr__(self) -> str:
        return "\n\n".join(f"# {source.name}, {source.file}, line {source.line}\n{source.text}" for source in self)

    def _repr_html_(self) -> str:
        return "\n".join(map(_folded, self))


def code(*things: Any) -> Sources:
    """The source of functions and classes, with file and line, to be shown in a notebook.

    Args:
        things: Functions, methods or classes; ``functools.partial`` objects, decorated functions and entries of a
            registry stand for the function inside; a module stands for all functions and classes that it defines.

    Returns:
        One ``Source`` for each. A notebook shows them folded, ``print`` shows them as text.

    Raises:
        TypeError: Something else, or a function whose source is in no file, such as a builtin.

    Example:
        >>> from infocap.information import entropy
        >>> (shown,) = code(entropy)
        >>> shown.name, shown.file
        ('entropy', 'infocap/information.py')
        >>> shown.text.splitlines()[0].startswith("def entropy(")
        True
    """
    return Sources(_source(function) for thing in things for function in _functions(thing))


def _functions(thing: Any) -> Iterator[Any]:
    while True:
        if isinstance(thing, partial):
            thing = thing.func
        elif hasattr(thing, "__wrapped__"):  # decorated, or an entry of a registry
            thing = thing.__wrapped__
        elif inspect.ismethod(thing):
            thing = thing.__func__
        else:
            break
    if isinstance(thing, ModuleType):
        held = vars(thing).items()
        yield from (inspect.unwrap(value) for name, value in held if _defined(value, name, thing.__name__))
    elif _written(thing):
        yield thing
    else:
        raise TypeError(f"things: got {thing!r}; accepted: functions, classes and modules that are written in Python")


def _defined(value: Any, name: str, module: str) -> bool:
    """Whether a module has made what it holds under a name, and has not imported it or given it a second one."""
    return _written(value) and value.__module__ == module and value.__qualname__ == name


def _written(thing: Any) -> bool:
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return False
    try:
        return bool(inspect.getsource(thing))
    except (OSError, TypeError):  # no file, or a builtin class
        return False


def _source(thing: Any) -> Source:
    lines, first = inspect.getsourcelines(thing)
    text = textwrap.dedent("".join(lines)).rstrip()
    return Source(thing.__qualname__, _file(thing), max(first, 1), text, _target(thing), _names(thing, text))


def _file(thing: Any) -> str:
    if thing.__module__ == "__main__":
        return "this notebook"
    path = Path(inspect.getfile(thing))
    folders = thing.__module__.count(".") + (path.name == "__init__.py")
    return "/".join(path.parts[-1 - folders :])


def _names(thing: Any, text: str) -> dict[tuple[int, int], str]:
    """The functions and classes among the names that the code takes from its module."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # part of a statement, as a lambda may be
        return {}
    module = sys.modules.get(thing.__module__)
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return None if node.id in own else getattr(module, node.id, None)
        if isinstance(node, ast.Attribute):
            owner = value(node.value)
            return getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
        return None

    names, lines = {}, text.splitlines()
    for node in ast.walk(tree):
        found = value(node)
        found = inspect.unwrap(found) if callable(found) else None
        if inspect.isfunction(found) or inspect.isclass(found):
            start = node.end_col_offset - len((node.attr if isinstance(node, ast.Attribute) else node.id).encode())
            column = len(lines[node.end_lineno - 1].encode()[:start].decode())  # the tree counts bytes
            names[node.end_lineno, column] = _target(found)
    return names


def _target(thing: Any) -> str:
    return f"{thing.__module__}#{thing.__qualname__.partition('.<locals>')[0]}"  # a function inside has no own anchor


def _folded(source: Source) -> str:
    """The link without a text stands before the fold, since a summary must hold none; the book's pages name it."""
    return (
        f'<div class="source">{_link(source.target, "")}<details>\n'
        f"<summary><code>{escape(source.name)}</code>, {escape(source.file)}, line {source.line}</summary>\n"
        f'<div class="highlight"><pre>{_highlighted(source)}\n</pre></div>\n</details></div>'
    )


def _link(target: str, shown: str) -> str:
    """A link without an address, which is text until the book's pages are rendered."""
    return f'<a data-source="{target}">{shown}</a>' if target.startswith(f"{_PACKAGE}.") else shown


def _highlighted(source: Source) -> str:
    html, line, column = [], 1, 0
    for _, kind, text in PythonLexer().get_tokens_unprocessed(source.text):
        while kind not in STANDARD_TYPES:
            kind = kind.parent
        style = STANDARD_TYPES[kind] if text.strip() else ""
        shown = f'<span class="{style}">{escape(text)}</span>' if style else escape(text)
        target = source.names.get((line, column))
        html.append(_link(target, shown) if target else shown)
        line, column = line + text.count("\n"), len(text) - text.rfind("\n") - 1 if "\n" in text else column + len(text)
    return "".join(html)
