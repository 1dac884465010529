"""How does a notebook become a page?

papermill runs each chapter with the profile as its parameter; the executed copy is staged, and Jupyter Book renders the
stage with execution off. A staged notebook is reused only if the notebook, the library, the lock, the profile and the
parameters are unchanged. A cell that raises stops the build: the message names the notebook, the cell and the line,
and the executed notebook is kept.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import joblib
import nbformat
import papermill
import yaml
from traitlets.config import Config

from infocap.study.cells import code_fingerprint

__all__ = ["ChapterError", "chapters", "check", "check_parameters", "execute", "render", "stage"]


# Nobody else on the machine can talk to a kernel. (Sockets in files would collide between chapters of one folder.)
_KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})


class ChapterError(RuntimeError):
    """A chapter that cannot run, or whose cell raised."""


def chapters(book: Path) -> list[str]:
    """The notebooks of the table of contents, such as ``noisy_labels/limit``, in order."""
    if not (book / "_toc.yml").exists():
        raise ChapterError(f"book: got {book}, which has no _toc.yml; accepted: the folder of the book")
    return [name for name in _pages(book) if (book / f"{name}.ipynb").exists()]


def stage(
    book: Path,
    only: Sequence[str],
    parameters: dict[str, Any],
    fingerprint: str,
    *,
    jobs: int | None = None,
) -> dict[str, str]:
    """Fills ``book/_build/stage`` with all pages, executing the notebooks that need it.

    Args:
        book: The folder of ``_toc.yml``.
        only: Chapters to execute; the others are staged as they were last executed.
        parameters: Passed to every chapter.
        fingerprint: Identifies profile and data; with the library and the notebook it decides about reuse.
        jobs: Chapters executed at the same time; ``None`` means one per core.

    Returns:
        For each chapter in ``only``: ``reused`` or the seconds that it took.

    Raises:
        ChapterError: As ``check``, or a cell raised; names the notebook, the cell and the line.
    """
    check(book, only, parameters)
    target = book / "_build" / "stage"
    fingerprint = _digest(fingerprint, json.dumps(parameters, sort_keys=True), _library(), *_results(book))
    fresh = {name: _digest(fingerprint, (book / f"{name}.ipynb").read_text(encoding="utf-8")) for name in only}
    stale = [name for name in only if _staged_fingerprint(target / f"{name}.ipynb") != fresh[name]]
    work = (joblib.delayed(execute)(book, name, parameters, fresh[name]) for name in stale)
    outcomes = joblib.Parallel(n_jobs=jobs or min(len(stale), joblib.cpu_count()))(work) if stale else []
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if failures:
        raise ChapterError("\n".join(failures))
    _copy_prose(book, target)
    seconds = dict(zip(stale, (f"{outcome:.1f} s" for outcome in outcomes), strict=True))
    return {name: seconds.get(name, "reused") for name in only}


def check(book: Path, only: Sequence[str], parameters: dict[str, Any]) -> None:
    """Refuses what could not be staged, before anything is computed.

    Raises:
        ChapterError: An unknown chapter, a parameter that a chapter lacks, or a chapter outside ``only`` that was never
            executed, so that the book would have a gap.
    """
    known = chapters(book)
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, 1, 0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ChapterError(f"only: no chapter {name!r}; accepted: {', '.join(known)}{hint}")
        check_parameters(book / f"{name}.ipynb", parameters)
    staged = book / "_build" / "stage"
    missing = [name for name in known if name not in only and not (staged / f"{name}.ipynb").exists()]
    if missing:
        raise ChapterError(f"never executed: {', '.join(missing)}; run all chapters once before a part of them")


def execute(book: Path, name: str, parameters: dict[str, Any], fingerprint: str) -> float | str:
    """Runs one chapter and stages it; returns the seconds, or one line that says what failed where."""
    source, target = book / f"{name}.ipynb", book / "_build" / "stage" / f"{name}.ipynb"
    kept = book / "_build" / "failed" / f"{name}.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        papermill.execute_notebook(source, kept, parameters, cwd=source.parent, progress_bar=False, config=_KERNEL)
    except papermill.PapermillExecutionError as error:
        return f"{source}, {_where(error, kept)}: {error.ename}: {error.evalue}\nthe executed notebook is {kept}"
    except Exception as error:  # such as a kernel that died
        return f"{source}: {type(error).__name__}: {error}"
    notebook = nbformat.read(kept, as_version=4)
    _show_parameters(notebook, parameters)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    seconds = time.perf_counter() - start
    notebook.metadata["infocap"] = {"fingerprint": fingerprint, "seconds": round(seconds, 1)}
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    os.replace(kept, target)  # whole or absent, as everything that a later run trusts
    return seconds


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuses a parameter that the notebook does not declare, where papermill would only warn.

    Raises:
        ChapterError: Names the parameter, the notebook and the nearest valid name.
    """
    declared = papermill.inspect_notebook(notebook)
    for name, value in parameters.items():
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ChapterError(f"{notebook}: no parameter {name!r}; accepted: {', '.join(declared)}{hint}")
        default = _literal(declared[name]["default"])
        accepted = (int, float) if type(default) is float else (type(default),)
        if default is not None and type(value) not in accepted:
            raise ChapterError(
                f"{notebook}: {name}: got {value!r}; accepted: a {type(default).__name__}, such as {default!r}"
            )


def render(book: Path) -> Path:
    """Renders the stage with Jupyter Book, warnings as errors; returns the path of the first page.

    Raises:
        ChapterError: The renderer failed; its output has been printed.
    """
    start = "from jupyter_book.cli.main import main; main()"  # it has no __main__
    command = [sys.executable, "-c", start, "build", str(book / "_build" / "stage")]
    command += ["--path-output", str(book), "-W", "-n", "--keep-going", "-q"]
    if subprocess.run(command).returncode:
        raise ChapterError("the pages were not rendered without warnings, see the lines above")
    return book / "_build" / "html" / "index.html"


def _pages(book: Path) -> list[str]:
    def walk(node: Any) -> list[str]:
        if isinstance(node, list):
            return [name for item in node for name in walk(item)]
        if isinstance(node, dict):
            own = [node[key] for key in ("root", "file") if key in node]
            return own + [name for key in ("parts", "chapters", "sections") for name in walk(node.get(key, []))]
        return []

    return walk(yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8")))


def _library() -> str:
    """Identifies the code of the library, as cells do, and the versions of the packages that it uses."""
    package = Path(__file__).resolve().parents[1]
    modules = sorted(path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py"))
    names = [".".join(part for part in module.parts if part != "__init__") for module in modules]
    lock = package.parent / "requirements.lock"
    return _digest(*map(code_fingerprint, names), lock.read_text(encoding="utf-8") if lock.exists() else "")


def _results(book: Path) -> list[str]:
    """The stored tables that chapters show beside their own."""
    return [path.read_text(encoding="utf-8") for path in sorted((book / "results").rglob("*.json"))]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _staged_fingerprint(staged: Path) -> str | None:
    if not staged.exists():
        return None
    return nbformat.read(staged, as_version=4).metadata.get("infocap", {}).get("fingerprint")


def _show_parameters(notebook: nbformat.NotebookNode, parameters: dict[str, Any]) -> None:
    """Writes the values that were used into the parameters cell, and drops the cell that papermill injected."""
    cells = notebook.cells
    notebook.cells = [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            for name, value in parameters.items():
                used = f"{name} = {value!r}".replace("\\", r"\\")  # a backslash is special in a replacement
                cell.source = re.sub(rf"(?m)^{name} = [^#\n]*?(?=\s*(#|$))", used, cell.source)


def _copy_prose(book: Path, target: Path) -> None:
    """Copies everything but notebooks; unchanged files keep their dates, so that only changed pages are rendered."""
    for path in sorted(book.rglob("*")):
        relative = path.relative_to(book)
        if path.is_dir() or relative.parts[0] in ("_build", "results") or path.suffix == ".ipynb":
            continue
        copy = target / relative
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    for copy in target.rglob("*"):
        if copy.is_file() and not (book / copy.relative_to(target)).exists():
            copy.unlink()


def _where(error: papermill.PapermillExecutionError, executed: Path) -> str:
    """The cell as counted in the source, from 1; papermill has added cells of its own to the executed notebook."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = nbformat.read(executed, as_version=4).cells
    counts = [cell.get("execution_count") for cell in cells if not added & set(cell.metadata.get("tags", []))]
    place = f"cell {counts.index(error.exec_count) + 1} of {len(counts)}"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    lines = re.findall(rf"Cell In\s*\[{error.exec_count}\], line (\d+)", plain)
    if not lines:
        return place
    return f"{place}, line {lines[-1]}, `{error.source.splitlines()[int(lines[-1]) - 1].strip()}`"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
