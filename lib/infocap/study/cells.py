"""When is a result still valid?

A cell is one training or one measurement: a frozen dataclass whose fields decide its result. Its key is a hash of the
fields, of the code that measures it and of the data, so a result is found again exactly as long as nothing that
decides it has changed.

Conventions: a table is a module with ``Cell`` and ``measure(cell)``. Code counts by its syntax tree without docstrings,
so comments and documentation recompute nothing. What counts is the table's module, the modules that the cell names by a
method ``code()`` (those of its method and its network), and every module of the same packages that these import,
transitively.
"""

import ast
import hashlib
import importlib.util
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["code_fingerprint", "fields", "key"]


def fields(cell: Any) -> dict[str, Any]:
    """The cell's fields as JSON-able values (tuples become lists)."""
    return json.loads(json.dumps(asdict(cell)))


def key(cell: Any, data_checksum: str = "") -> str:
    """The content address of a cell's result.

    Args:
        cell: A frozen dataclass, defined in the module that measures it.
        data_checksum: Identifies the data that the cell reads.

    Returns:
        A SHA-256 in hexadecimal, equal for equal fields, code and data.

    Raises:
        ValueError: A function that decides the result has no source file, as in a notebook, so that its code cannot
            count.

    Cost: microseconds, once the modules' code has been read.
    """
    module = type(cell).__module__
    modules = sorted({module, *(cell.code() if hasattr(cell, "code") else ())})
    parts = [module, json.dumps(fields(cell), sort_keys=True), code_fingerprint(*modules), data_checksum]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def code_fingerprint(*modules: str) -> str:
    """SHA-256 over the syntax trees of modules and of all modules of their packages that they import, transitively.

    Raises:
        ValueError: A module has no source file, or one of them uses a relative import.
    """
    for module in modules:
        if module == "__main__" or _read(module) is None:
            accepted = "a module in a .py file; `also` of a table runs what a notebook defines, and stores nothing"
            raise ValueError(f"module: got {module!r}, which has no source file to count; accepted: {accepted}")
    packages = {module.split(".")[0] for module in modules}
    sources: dict[str, str] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        found = _read(name)
        if found is not None and name not in sources:
            sources[name], imported = found
            pending += [other for other in imported if other.split(".")[0] in packages]
    joined = "\n".join(f"# {name}\n{sources[name]}" for name in sorted(sources))
    return hashlib.sha256(joined.encode()).hexdigest()


@cache
def _read(module: str) -> tuple[str, list[str]] | None:
    """A module's code without comments and docstrings, and the names that it imports; ``None`` if it is no file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):  # ``from module import function`` also proposes module.function
        return None
    if spec is None or not (spec.origin or "").endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return ast.unparse(_without_docstrings(tree)), _imports(tree, module)


def _imports(tree: ast.AST, module: str) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(
                    f"{module}, line {node.lineno}: a relative import; accepted: absolute imports, so that keys see it"
                )
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree
