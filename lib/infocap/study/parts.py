"""Which parts of the book does a chapter read?

A change of one part's profile, or new cells of its tables, should not run the chapters of other parts again. So we
must know which parts a chapter reads, and must never miss one.

Conventions: a part is the first word of a table's name and the folder of its chapters. A chapter reads the part of its
folder and every part that its code names: as an import, a name or the beginning of a string
(``"distillation/flips"``). What the code of a part's tables and figures names counts too. A page outside the
parts' folders, such as the scorecard, reads all parts, and so does a chapter that asks a ``Book`` for the verdicts of
no part in particular, for all that its catalogue or its profile holds, or that imports more from the catalogue than
``Book``.
"""

import ast
from functools import cache
from pathlib import Path
from types import ModuleType

import nbformat

__all__ = ["parts_read"]

_EVERYTHING = "catalogue"  # stands for all parts, beside being what a chapter says
_OF_ONE_TABLE = ("collect", "load_profile", "work")  # what a catalogue does with a table that is named


def parts_read(notebook: Path, tables: dict[str, ModuleType]) -> set[str]:
    """The parts that a chapter reads.

    Args:
        notebook: The chapter, in the folder of its part.
        tables: All tables by name; each module's folder holds the code of its part.

    Returns:
        Names of parts. All of them, if the notebook's code cannot be read.
    """
    folders = {name.split("/")[0]: Path(module.__file__).parent for name, module in tables.items()}
    everything, own = set(folders), notebook.parent.name
    cells = nbformat.read(notebook, as_version=4).cells
    try:
        words = set().union(*(_words(cell.source) for cell in cells if cell.cell_type == "code"))
    except SyntaxError:
        return everything
    if own not in everything:
        return everything
    read: set[str] = set()
    pending = {own}
    while True:
        if _EVERYTHING in words:
            return everything
        pending |= (everything & words) - read
        if not pending:
            return read
        part = pending.pop()
        read.add(part)
        sources = sorted(folders[part].rglob("*.py"))
        words = set().union(*(_words(source.read_text(encoding="utf-8")) for source in sources))


@cache
def _words(code: str) -> frozenset[str]:
    """What the code imports, its names and attributes, and the first word of each string as in the name of a table.

    Where the code reaches beyond tables that it names, one word is ``_EVERYTHING``.
    """
    words, nodes = set(), list(ast.walk(ast.parse(code)))
    of_one = {id(node.value) for node in nodes if isinstance(node, ast.Subscript)}
    of_one |= {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in _OF_ONE_TABLE}
    for node in nodes:
        if id(node) in of_one and getattr(node, "attr", "") in (_EVERYTHING, "panels"):
            continue  # the table's name is a string nearby
        if isinstance(node, ast.Import):
            words |= {word for alias in node.names for word in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            taken = {alias.name for alias in node.names}
            words |= taken
            if not (module.endswith(".catalogue") and taken <= {"Book"}):
                words |= set(module.split("."))
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
            if ast.unparse(node).endswith(".profile.panels"):
                words.add(_EVERYTHING)
        elif isinstance(node, ast.Call) and _of_no_part(node):
            words.add(_EVERYTHING)
        elif isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value.split("/")[0])
    return frozenset(words)


def _of_no_part(call: ast.Call) -> bool:
    """Whether it asks for verdicts without naming a part."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("verdicts", "show_verdicts")):
        return False
    given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg in ("part", None))]
    return not any(isinstance(value, ast.Constant) and isinstance(value.value, str) for value in given)
