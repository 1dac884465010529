"""How does an exercise notebook reach a class?

The solution is the master copy. ``student`` writes copies without solutions, ``assignment`` the folder of a course
that nbgrader releases and grades. In both, Sphinx's directives become Markdown that any notebook program shows, and
above the cell that draws an answer stands the figure to expect, taken from an executed copy.

nbgrader comes with the ``book`` extra, so nothing else imports this module. See book/teaching.md.
"""

import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated

import nbformat
import typer
import yaml
from nbformat.v4 import new_markdown_cell
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

from infocap.study import runner

__all__ = ["assignment", "handout", "student"]

_CONFIG = """\
# The commands are in the book, on the page about teaching. Options: https://nbgrader.readthedocs.io
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "infocap"
c.ExecutePreprocessor.timeout = 600  # seconds for one cell; some train networks
"""
# What Sphinx alone understands, and the Markdown to put in its place.
_DIRECTIVES = {
    r"```\{hint\}\n:class: dropdown\n\n(.*?)\n```": r"<details>\n<summary>Hint</summary>\n\n\1\n\n</details>",
    r"````\{exercise\} ([^\n]+)\n:label: \S+\n\n(.*?)\n````": r"### Exercise: \1\n\n\2",
    r"```\{solution\} \S+\n:class: dropdown\n\n(.*)\n```": r"**Solution.**\n\n\1",
}


def student(book: Path, profile: str) -> Path:
    """Writes every exercise notebook without solutions and hidden tests; returns the folder, which is also zipped.

    Args:
        book: The folder of ``_toc.yml``.
        profile: Written into the notebooks, and the size of the expected figures.

    Raises:
        ChapterError: A solution does not run.
    """
    folder = book / "_build" / "student"
    shutil.rmtree(folder, ignore_errors=True)
    for name in _names(book):
        notebook = handout(book, name, profile)
        for clear in (ClearSolutions(), ClearHiddenTests()):
            notebook, _ = clear.preprocess(notebook, {})
        _write(notebook, folder / f"{name}.ipynb")
    shutil.make_archive(str(folder), "zip", folder)
    return folder


def assignment(book: Path, course: Path, profile: str) -> Path:
    """Writes the sources of one nbgrader assignment for each part; leaves all else in the course's folder alone.

    Args:
        book: The folder of ``_toc.yml``.
        course: The folder of the course. An ``nbgrader_config.py`` that it holds is kept.
        profile: Written into the notebooks, and the size of the expected figures.

    Raises:
        ChapterError: A solution does not run.
    """
    for name in _names(book):
        _write(handout(book, name, profile), course / "source" / f"{name}.ipynb")
    config = course / "nbgrader_config.py"
    if not config.exists():
        config.write_text(_CONFIG, encoding="utf-8")
    return course


def handout(book: Path, name: str, profile: str) -> nbformat.NotebookNode:
    """An exercise notebook with its solutions, in plain Markdown, with the figures to expect.

    Raises:
        ChapterError: There is no current executed copy, and the solutions do not run.
    """
    notebook = nbformat.read(book / f"{name}.ipynb", as_version=4)
    figures = _figures(book, name, notebook, profile)
    _make_plain(notebook, book, name)
    cells = []
    for cell in notebook.cells:
        if _is_parameters(cell):
            cell.source = _with_profile(cell.source, profile)
        if cell.id in figures:
            cells.append(_expected(cell, figures[cell.id]))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def _names(book: Path) -> list[str]:
    return [name for name in runner.chapters(book) if name.endswith("/exercises")]


def _write(notebook: nbformat.NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def _is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def _with_profile(source: str, profile: str) -> str:
    return re.sub(r'(?m)^profile = "\w+"', f'profile = "{profile}"', source)


def _figures(book: Path, name: str, notebook: nbformat.NotebookNode, profile: str) -> dict[str, str]:
    """By cell, what the book drew there, as base64 of PNG; runs the notebook if no staged copy is current."""
    staged = book / "_build" / "stage" / f"{name}.ipynb"
    if not (staged.exists() and _ran(staged, notebook, profile)):
        print(f"{name}: running it with the {profile} profile for its figures", flush=True)
        outcome = runner.execute(book, name, {"profile": profile}, {})
        if isinstance(outcome, str):
            raise runner.ChapterError(outcome)
    return {
        cell.id: output.data["image/png"]
        for cell in nbformat.read(staged, as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }


def _ran(staged: Path, notebook: nbformat.NotebookNode, profile: str) -> bool:
    """Whether a staged copy ran the notebook as it is now, with this profile and no other setting."""
    copy = nbformat.read(staged, as_version=4)
    mine, theirs = ([cell.source for cell in n.cells if not _is_parameters(cell)] for n in (notebook, copy))
    used = next((cell.source.replace("'", '"') for cell in copy.cells if _is_parameters(cell)), "")
    return mine == theirs and {f'profile = "{profile}"', "settings = []"} <= {
        line.split("#")[0].strip() for line in used.splitlines()
    }


def _expected(cell: nbformat.NotebookNode, picture: str) -> nbformat.NotebookNode:
    """What stands above a cell that draws: caption and picture, with its text for those who cannot see it."""
    shown = cell.metadata["mystnb"]
    text = f"**{shown['figure']['caption']}**\n\n![{shown['image']['alt']}](attachment:expected.png)"
    attachments = {"expected.png": {"image/png": picture}}
    return new_markdown_cell(text, id=f"{cell.id}-expected", attachments=attachments)


def _make_plain(notebook: nbformat.NotebookNode, book: Path, name: str) -> None:
    """Takes out of the text what only Sphinx knows: directives, roles, links between pages, macros."""
    pages = yaml.safe_load((book.parent / "CITATION.cff").read_text(encoding="utf-8"))["url"]
    titles, macros = _titles(book), _macros(book)

    def address(link: re.Match) -> str:
        page = posixpath.normpath(posixpath.join(posixpath.dirname(name), link[1]))
        return f"]({pages}/{page}.html"

    def citation(role: re.Match) -> str:  # keys are such as fano1961transmission
        authors = re.sub(r"([a-z]+)(\d{4})\w*", lambda key: f"{key[1].title()} {key[2]}", role[1])
        return f"([{authors.replace(',', ', ')}]({pages}/bibliography.html))"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = cell.source
            for pattern, plain in _DIRECTIVES.items():
                text = re.sub(pattern, plain, text, flags=re.DOTALL)
            text = re.sub(r"\{ref\}`(ex-[^`]+)`", lambda role: f"exercise *{titles[role[1]]}*", text)
            text = re.sub(r"\{cite:\w+\}`([^`]+)`", citation, text)
            text = re.sub(r"\{[a-z:]+\}`([^`]+)`", r"`\1`", text)
            text = re.sub(r"\]\((?!\w+:)([^)#]+)\.(?:md|ipynb)(?=[)#])", address, text)
            for pattern, meaning in macros.items():
                text = re.sub(pattern, meaning, text)
            cell.source = text


def _titles(book: Path) -> dict[str, str]:
    """The title of each exercise of the book, by its label."""
    texts = [cell.source for name in _names(book) for cell in nbformat.read(book / f"{name}.ipynb", 4).cells]
    return {label: title for text in texts for title, label in re.findall(r"\{exercise\} (.+)\n:label: (\S+)", text)}


def _macros(book: Path) -> dict[str, str]:
    """The book's own LaTeX commands: a pattern for each, with its arguments, and what to put in its place."""
    config = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
    macros = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    patterns = {}
    for name, macro in macros.items():
        meaning, arguments = (macro, 0) if isinstance(macro, str) else macro
        replacement = re.sub(r"#(\d)", r"\\\1", meaning.replace("\\", r"\\"))
        patterns[rf"\\{name}(?![A-Za-z])" + r"\{([^{}]*)\}" * arguments] = replacement
    return patterns


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Profile = Annotated[str, typer.Option(help="smoke, quick or full")]
Book = Annotated[Path, typer.Option(help="folder of the book")]


@app.command("student")
def _student(profile: Profile = "quick", book: Book = Path("book")) -> None:
    """The exercises without solutions, in the book's _build/student."""
    print(student(book, profile))


@app.command("assignment")
def _assignment(
    profile: Profile = "quick",
    book: Book = Path("book"),
    course: Annotated[Path, typer.Option(help="folder of the course")] = Path("book/_build/course"),
) -> None:
    """The folder of a course for nbgrader, with one assignment for each part."""
    print(assignment(book, course, profile))


if __name__ == "__main__":
    try:
        app()
    except (runner.ChapterError, OSError) as error:
        sys.exit(f"{error}")
