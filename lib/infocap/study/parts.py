"""Which parts of the book does a chapter read?

A change of one part's profile, or new cells of its tables, should not run the chapters of other parts again. So we
must know which parts a chapter reads, and must never miss one.

Conventions: a part is the first word of a table's name and the folder of its chapters. A chapter reads the part of its
folder and every part that its code names: as an import, an attribute (``profile.distillation``) or the beginning of
a string (``"distillation/flips"``). What the code of a part's tables and figures names counts too. A page outside the
parts' folders, such as the scorecard, and a chapter that takes more from the catalogue than ``table`` and
``load_profile``, read all parts.
"""

import ast
from pathlib import Path
from types import ModuleType

import nbformat

__all__ = ["parts_read"]


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
        if "catalogue" in words:
            return everything
        pending |= (everything & words) - read
        if not pending:
            return read
        part = pending.pop()
        read.add(part)
        sources = sorted(folders[part].glob("*.py"))
        words = set().union(*(_words(source.read_text(encoding="utf-8")) for source in sources))


def _words(code: str) -> set[str]:
    """What the code imports, its names and attributes, and the first word of each string as in the name of a table.

    An import from the catalogue that reaches beyond one table counts as ``catalogue``.
    """
    words = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            words |= {word for alias in node.names for word in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            taken = {alias.name for alias in node.names}
            words |= taken
            if not (module.endswith(".catalogue") and taken <= {"table", "load_profile"}):
                words |= set(module.split("."))
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value.split("/")[0])
    return words
