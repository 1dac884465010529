"""How does a notebook become a page?

papermill runs each chapter with the profile as its parameter; the executed copy is staged, and Jupyter Book renders the
stage with execution off. A staged notebook is reused only if nothing that its outputs may show has changed: its code,
its parameters, the library and the lock, the stored tables, and the profile and cells of the parts that it reads; its
text is laid anew around what was executed. A cell that raises stops the build: the message names the notebook, the cell
and the line, and the executed notebook is kept. Pages are rendered only if something that they show has changed.
"""

import ast
import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import filelock
import joblib
import nbformat
import papermill
import yaml
from traitlets.config import Config

__all__ = [
    "ChapterError",
    "alone",
    "chapters",
    "check",
    "check_parameters",
    "execute",
    "record",
    "render",
    "rendered",
    "stage",
]


# Nobody else on the machine can talk to a kernel. (Sockets in files would collide between chapters of one folder.)
# A kernel is killed when its chapter is done: asked to leave, some write a complaint into the terminal.
_KERNEL = Config(
    {"KernelManager": {"transport_encryption": "auto"}, "NotebookClient": {"shutdown_kernel": "immediate"}}
)


class ChapterError(RuntimeError):
    """A chapter that cannot run, or whose cell raised."""


# Jupyter Book has no __main__. A third of its time would go into looking for garbage in trees that all stay, and a
# second into a part of jsonschema that checks addresses.
_JUPYTER_BOOK = """
import gc, sys
gc.set_threshold(100_000, 50, 50)
sys.modules["rfc3987_syntax"] = None
from jupyter_book.cli.main import main
main()
"""

STATUS = "_status.md"  # holds the times of this build; alone it is no reason to render again


def chapters(book: Path) -> list[str]:
    """The notebooks of the table of contents, such as ``noisy_labels/limit``, in order."""
    if not (book / "_toc.yml").exists():
        raise ChapterError(f"book: got {str(book)!r}, which has no _toc.yml; accepted: the folder of the book")
    return [name for name in _pages(book) if (book / f"{name}.ipynb").exists()]


@contextlib.contextmanager
def alone(book: Path) -> Iterator[None]:
    """Waits until no other process builds this book; one that was killed holds nobody up.

    Raises:
        ChapterError: Nothing can be written to the folder of the book.
    """
    folder = book / "_build"
    lock = filelock.FileLock(folder / "lock")
    try:
        folder.mkdir(exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            print(f"waiting: another run builds {book}", flush=True)
            lock.acquire()
    except OSError as error:
        raise ChapterError(f"book: cannot write to {folder} ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()


def stage(
    book: Path,
    parameters: dict[str, dict[str, Any]],
    inputs: dict[str, dict[str, str]],
    *,
    commit: str = "unknown",
    jobs: int | None = None,
) -> dict[str, str]:
    """Fills ``book/_build/stage``, executing those notebooks that need it; prints a line for each. See ``check`` first.

    Args:
        book: The folder of ``_toc.yml``.
        parameters: For each chapter to execute, what is passed to it; the others stay as they were staged.
        inputs: For each of these chapters, what decides about reuse besides its code, its parameters, the library
            and the stored tables: texts by name.
        commit: Is written into the record of each chapter that is executed.
        jobs: Chapters executed at the same time; ``None`` means one per core.

    Returns:
        For each of these chapters, why it was executed; an empty text if it was reused.

    Raises:
        ChapterError: A cell raised; names the notebook, the cell and the line.
    """
    shared = {"library": _library(), "stored tables": _digest(*_results(book))}
    wanted, reasons = {}, {}
    for name, values in parameters.items():
        own = {"code": _code(book / f"{name}.ipynb"), "parameters": json.dumps(values)}
        wanted[name] = shared | {part: _digest(text) for part, text in (own | inputs[name]).items()}
        reasons[name] = _reason(record(book, name).get("inputs"), wanted[name])
    stale = [name for name, reason in reasons.items() if reason]
    workers = min(len(stale), jobs or joblib.cpu_count()) or 1
    work = (
        joblib.delayed(execute)(book, name, parameters[name], {"inputs": wanted[name], "commit": commit}, workers)
        for name in stale
    )
    outcomes = joblib.Parallel(n_jobs=workers, return_as="generator")(work) if stale else ()
    failures = []
    for name, outcome in zip(stale, outcomes, strict=True):
        if isinstance(outcome, str):
            failures.append(outcome)
        print(f"{name}: {'failed' if isinstance(outcome, str) else f'{outcome:.1f} s'} ({reasons[name]})", flush=True)
    if failures:
        raise ChapterError("\n".join(failures))
    for name in reasons:  # those just executed too, since papermill adds to the cells of text
        _lay_text(book / f"{name}.ipynb", _staged(book, name))
    _copy_prose(book, book / "_build" / "stage")
    return reasons


def check(book: Path, parameters: dict[str, dict[str, Any]]) -> None:
    """Refuses what could not be staged, before anything is computed.

    Args:
        book: The folder of ``_toc.yml``.
        parameters: For each chapter to execute, what is passed to it.

    Raises:
        ChapterError: An unknown chapter, a parameter that a chapter lacks, or another chapter that was never executed,
            so that the book would have a gap.
    """
    known = chapters(book)
    for name, values in parameters.items():
        if name not in known:
            near = get_close_matches(name, known, 1, 0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ChapterError(f"only: no chapter {name!r}; accepted: {', '.join(known)}{hint}")
        check_parameters(book / f"{name}.ipynb", values)
    missing = [name for name in known if name not in parameters and not _staged(book, name).exists()]
    if missing:
        raise ChapterError(f"never executed: {', '.join(missing)}; run all chapters once before a part of them")


def execute(book: Path, name: str, parameters: dict[str, Any], facts: dict[str, Any], workers: int = 1) -> float | str:
    """Runs one chapter and stages it with its record; returns the seconds, or one line that says what failed where.

    Args:
        book: The folder of ``_toc.yml``.
        name: The chapter.
        parameters: What is passed to it.
        facts: Become part of its record, see ``record``.
        workers: Chapters that are executed at the same time; each has its line of the terminal for a progress bar.
    """
    source, target = book / f"{name}.ipynb", _staged(book, name)
    kept = book / "_build" / "failed" / f"{name}.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    number = re.findall(r"\d+", multiprocessing.current_process().name) or ["0"]  # such as LokyProcess-3
    bar = {"desc": name, "position": int(number[-1]) % workers, "leave": False, "disable": None}  # in a terminal only
    start, executed = time.perf_counter(), datetime.now(UTC)
    try:
        papermill.execute_notebook(source, kept, parameters, cwd=source.parent, progress_bar=bar, config=_KERNEL)
    except papermill.PapermillExecutionError as error:
        return f"{source}, {_where(error, kept)}: {error.ename}: {error.evalue}\nthe executed notebook is {kept}"
    except Exception as error:  # such as a kernel that died
        return f"{source}: {type(error).__name__}: {error}"
    notebook = nbformat.read(kept, as_version=4)
    _show_parameters(notebook, parameters)
    notebook.metadata.pop("papermill", None)
    cells = []
    for number, cell in enumerate(notebook.cells, 1):
        took = cell.metadata.pop("papermill", {}).get("duration")
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and took is not None:
            first = next(iter(cell.source.splitlines()), "")
            cells.append({"cell": number, "seconds": round(took, 3), "code": first})
    seconds = time.perf_counter() - start
    notebook.metadata["infocap"] = facts | {
        "parameters": parameters,
        "executed": executed.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "cells": cells,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    os.replace(kept, target)  # whole or absent, as everything that a later run trusts
    return seconds


def record(book: Path, name: str) -> dict[str, Any]:
    """How a chapter was last executed; empty if it never was, or if what was staged is no notebook.

    ``inputs`` (digests of what decides about reuse), ``commit``, ``parameters``, ``executed`` (the time, UTC),
    ``seconds``, and ``cells``: for each code cell its number in the notebook, its seconds and its first line.
    """
    staged = _staged(book, name)
    try:
        return dict(json.loads(staged.read_bytes())["metadata"].get("infocap", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # absent, or something else
        return {}


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuses a parameter that the notebook does not declare, where papermill would only warn.

    Raises:
        ChapterError: Names the parameter, the notebook and the nearest valid name; or the file is no notebook.
    """
    try:
        declared = papermill.inspect_notebook(notebook)
    except Exception as error:  # of a malformed file, nbformat raises many types
        raise ChapterError(f"{notebook}: not a notebook ({str(error)[:200]!r}); accepted: nbformat 4 JSON") from None
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


def rendered(book: Path, facts: str) -> bool:
    """Whether the pages show what is staged now, as this library and these packages render it, and ``facts``."""
    build = book / "_build"
    try:
        last = (build / "rendered").read_text(encoding="utf-8")
    except OSError:
        return False
    return last == _shown(book, facts) and (build / "html" / "index.html").exists()


def render(book: Path, facts: str = "") -> Path:
    """Renders the stage with Jupyter Book, warnings as errors; returns the path of the first page.

    After a render that was killed or failed, all pages are rendered anew: Sphinx would take a page that was half
    written for finished, leave out the search index, and keep silent about warnings that it gave before.

    Args:
        book: The folder of ``_toc.yml``, with its chapters staged.
        facts: What the status page shows besides times, see ``rendered``.

    Raises:
        ChapterError: The renderer failed; its output has been printed.
    """
    build, shown = book / "_build", _shown(book, facts)
    (build / "rendered").unlink(missing_ok=True)
    unfinished = build / "rendering"
    if unfinished.exists():
        for folder in (build / "html", build / ".doctrees"):
            shutil.rmtree(folder, ignore_errors=True)
    build.mkdir(exist_ok=True)
    unfinished.touch()
    print("rendering the pages", flush=True)
    outcome = _jupyter_book(build / "stage", book, "-W", "-n", "--keep-going")
    if outcome.returncode:
        print(outcome.stdout)
        raise ChapterError("the pages were not rendered without warnings, see the lines above")
    unfinished.unlink()
    (build / "rendered").write_text(shown, encoding="utf-8")
    return build / "html" / "index.html"


def preview(book: Path, title: str, names: Sequence[str]) -> Path | None:
    """Renders some staged chapters ahead of the whole book, in a folder of their own, beside the pages of prose.

    References to chapters that are not there yet are left as text.

    Args:
        book: The folder of ``_toc.yml``.
        title: Names the folder, ``book/_build/parts/<title>``.
        names: The chapters; the first is the first page.

    Returns:
        The path of the first page; ``None`` if the renderer failed, which the whole book then explains.
    """
    folder = book / "_build" / "parts" / title
    shutil.rmtree(folder, ignore_errors=True)
    _copy_prose(book, folder / "stage")
    for name in names:
        (folder / "stage" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_staged(book, name), folder / "stage" / f"{name}.ipynb")
    prose = [page for page in _pages(book) if "/" not in page and (book / f"{page}.md").exists()]
    files = [{"file": page} for page in [*names[1:], *prose]]
    contents = {"format": "jb-book", "root": names[0], "chapters": files}
    (folder / "stage" / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")
    outcome = _jupyter_book(folder / "stage", folder)
    return None if outcome.returncode else folder / "_build" / "html" / "index.html"


def _jupyter_book(source: Path, target: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(source), "--path-output", str(target), "-q", *options]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _shown(book: Path, facts: str) -> str:
    """Identifies all that the pages show: the stage with its extensions, the library, installed packages, and facts."""
    stage, digest = book / "_build" / "stage", hashlib.sha256(f"{_library()} {facts}".encode())
    for path in sorted(stage.rglob("*")):
        if path.is_file() and path.name != STATUS and path.parent.name != "__pycache__":
            digest.update(f"{path.relative_to(stage)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for folder in dict.fromkeys(sys.path):
        for path in sorted(Path(folder).glob("*.dist-info")):  # is named by package and version
            digest.update(path.name.encode())
    return digest.hexdigest()


def _pages(book: Path) -> list[str]:
    def walk(node: Any) -> list[str]:
        if isinstance(node, list):
            return [name for item in node for name in walk(item)]
        if isinstance(node, dict):
            own = [node[key] for key in ("root", "file") if key in node]
            return own + [name for key in ("parts", "chapters", "sections") for name in walk(node.get(key, []))]
        return []

    try:
        names = walk(yaml.safe_load((book / "_toc.yml").read_bytes()))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # YAML may even contain itself
        raise ChapterError(f"{book / '_toc.yml'}: not a table of contents ({' '.join(str(error).split())})") from None
    if not names or not all(isinstance(name, str) for name in names):
        raise ChapterError(f"{book / '_toc.yml'}: got pages {names}; accepted: a table of contents of Jupyter Book")
    return names


def _library() -> str:
    """Identifies the library, whose source pages show, and the versions of the packages that it uses."""
    package = Path(__file__).resolve().parents[1]
    lock = package.parent / "requirements.lock"
    texts = [path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))]
    return _digest(*texts, lock.read_text(encoding="utf-8") if lock.exists() else "")


def _results(book: Path) -> list[str]:
    """The stored tables that chapters show beside their own."""
    return [path.read_text(encoding="utf-8") for path in sorted((book / "results").rglob("*.json"))]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code(notebook: Path) -> str:
    """What decides how a notebook is executed and shown, besides its text."""
    content = nbformat.read(notebook, as_version=4)
    cells = [(cell.source, cell.metadata) for cell in content.cells if cell.cell_type == "code"]
    return json.dumps([content.metadata, cells], sort_keys=True)


def _lay_text(source: Path, target: Path) -> None:
    """Puts the text of a chapter around its executed code cells; a file that stays as it is keeps its date."""
    executed, notebook = (nbformat.read(path, as_version=4) for path in (target, source))
    before = executed.cells
    code = iter([cell for cell in before if cell.cell_type == "code"])
    executed.cells = [next(code) if cell.cell_type == "code" else cell for cell in notebook.cells]
    if executed.cells == before:
        return
    old, new = (
        [n for n, cell in enumerate(cells, 1) if cell.cell_type == "code"] for cells in (before, executed.cells)
    )
    number = dict(zip(old, new, strict=True))
    for cell in executed.metadata["infocap"]["cells"]:
        cell["cell"] = number[cell["cell"]]
    laid = target.with_suffix(".new")
    nbformat.write(executed, laid)
    os.replace(laid, target)


def _staged(book: Path, name: str) -> Path:
    return book / "_build" / "stage" / f"{name}.ipynb"


def _reason(before: dict[str, str] | None, now: dict[str, str]) -> str:
    if before is None:
        return "new"
    changed = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    return f"changed: {', '.join(changed)}" if changed else ""


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
