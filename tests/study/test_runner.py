"""A chapter runs when something that it shows has changed, and a cell that raises says where."""

import io
import os
import re
from datetime import datetime
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tqdm import tqdm

from infocap.study import runner
from infocap.study.runner import ChapterError, chapters, check_parameters, record, render, rendered, stage

PARAMETERS = 'profile = "quick"  # smoke, quick or full\nsettings = []\nrate = 0.5\nflag = False\nstore = None'
USED = {"profile": "smoke", "settings": ["a=1"], "store": None}


def write(book, name, *code, title="A chapter"):
    cells = [new_markdown_cell(f"# {title}"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    notebook = new_notebook(cells=[*cells, *map(new_code_cell, code)])
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = book / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def change(book, name, old, new):
    path = book / f"{name}.ipynb"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def book(tmp_path):
    folder = tmp_path / "book"
    (folder / "_static").mkdir(parents=True)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nparts:\n- caption: One\n  chapters:\n  - file: one/first\n  - file: last\n"
    )
    (folder / "_config.yml").write_text(
        'title: Tiny\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: "off"\n'
    )
    (folder / "intro.md").write_text("# Welcome\n\nHello.\n")
    (folder / "_static" / "style.css").write_text("")
    write(folder, "one/first", "print(f'{profile} {settings} {store}')")
    write(folder, "last", "1 + 1", title="The end")
    return folder


def run(book, only=None, parameters=USED, profile="profile"):
    only = only or chapters(book)
    runner.check(book, dict.fromkeys(only, parameters))
    return stage(book, dict.fromkeys(only, parameters), dict.fromkeys(only, {"profile": profile}), jobs=1)


def staged(book, name):
    return nbformat.read(book / "_build" / "stage" / f"{name}.ipynb", as_version=4)


def test_the_life_of_a_book(book, capsys):
    """One test, since every chapter costs the start of a kernel."""
    assert chapters(book) == ["one/first", "last"]

    with pytest.raises(ChapterError, match="never executed: last; run all chapters once before a part of them"):
        run(book, ["one/first"])
    assert not (book / "_build").exists()  # refused before anything was executed

    assert run(book) == {"one/first": "new", "last": "new"}
    one, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"one/first: \d+\.\d s \(new\)", one) and last.startswith("last: ")
    page = runner.preview(book, "one", ["one/first"])
    assert "flag = False" in re.sub("<[^>]*>", "", (page.parent / "one" / "first.html").read_text(encoding="utf-8"))
    assert not (page.parent / "last.html").exists() and not (book / "_build" / "html").exists()
    first = staged(book, "one/first")
    parameters, shown = first.cells[1:]
    assert parameters.source.splitlines() == [
        "profile = 'smoke'  # smoke, quick or full",
        "settings = ['a=1']", "rate = 0.5", "flag = False", "store = None",
    ]  # fmt: skip
    assert shown.outputs[0].text == "smoke ['a=1'] None\n"
    assert "papermill" not in first.metadata and not any("papermill" in cell.metadata for cell in first.cells)
    assert "papermill" not in (book / "_build" / "stage" / "one" / "first.ipynb").read_text()
    assert (book / "_build" / "stage" / "intro.md").read_text() == (book / "intro.md").read_text()
    assert not list((book / "_build" / "failed").rglob("*.ipynb"))

    facts = record(book, "one/first")
    assert (
        facts["commit"] == "unknown" and facts["parameters"] == USED and set(facts["inputs"]) > {"profile", "library"}
    )
    assert datetime.fromisoformat(facts["executed"]).tzinfo and facts["seconds"] > sum(
        c["seconds"] for c in facts["cells"]
    )
    assert [(cell["cell"], cell["code"]) for cell in facts["cells"]] == [
        (2, "profile = 'smoke'  # smoke, quick or full"), (3, "print(f'{profile} {settings} {store}')"),
    ]  # fmt: skip

    page = render(book)
    assert page == book / "_build" / "html" / "index.html" and page.exists()
    assert "smoke [" in (page.parent / "one" / "first.html").read_text()

    prose = book / "_build" / "stage" / "intro.md"
    notebook = book / "_build" / "stage" / "last.ipynb"
    for file in (prose, notebook):
        os.utime(file, (1, 1))
    assert run(book) == {"one/first": "", "last": ""}
    assert record(book, "one/first") == facts  # a reused chapter keeps the record of its execution
    assert prose.stat().st_mtime == notebook.stat().st_mtime == 1

    change(book, "one/first", "A chapter", "One chapter")
    change(book, "one/first", "print(f'", "print(f' ")
    (book / "_static" / "style.css").unlink()
    assert run(book) == {"one/first": "changed: code", "last": ""}
    assert staged(book, "one/first").cells[0].source == "# One chapter"
    assert prose.stat().st_mtime == 1 and not (book / "_build" / "stage" / "_static" / "style.css").exists()

    (book / "results" / "full").mkdir(parents=True)
    (book / "results" / "full" / "table.json").write_text("{}")
    assert run(book, ["last"]) == {"last": "changed: stored tables"}  # a stored table is shown beside the chapter's own


def pretend_executed(book, name, parameters, facts, workers):
    """Stands for ``runner.execute`` where no kernel is needed: each code cell shows its number."""
    notebook = nbformat.read(book / f"{name}.ipynb", as_version=4)
    runner._show_parameters(notebook, parameters)
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    for number, cell in code:
        cell.outputs = [new_output("stream", text=f"output {number}")]
    cells = [{"cell": number, "seconds": 0.0, "code": ""} for number, _ in code]
    notebook.metadata["infocap"] = facts | {"cells": cells}
    path = book / "_build" / "stage" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return 0.0


def test_changed_text_is_laid_around_what_was_executed(book, monkeypatch):
    monkeypatch.setattr(runner, "execute", pretend_executed)
    run(book)
    before, other = staged(book, "one/first"), book / "_build" / "stage" / "last.ipynb"
    os.utime(other, (1, 1))

    path = book / "one" / "first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# Another title"
    notebook.cells.insert(2, new_markdown_cell("A new paragraph."))
    nbformat.write(notebook, path)
    assert run(book) == {"one/first": "", "last": ""}
    after = staged(book, "one/first")
    title, parameters, paragraph, shown = after.cells
    assert (title.source, paragraph.source) == ("# Another title", "A new paragraph.")
    assert [parameters, shown] == before.cells[1:]  # with its output, and the parameters that were used
    assert [cell["cell"] for cell in record(book, "one/first")["cells"]] == [2, 4]  # their places now
    assert after.metadata["infocap"]["inputs"] == before.metadata["infocap"]["inputs"]
    assert other.stat().st_mtime == 1

    notebook.cells[3], notebook.cells[1] = notebook.cells[1], notebook.cells[3]
    nbformat.write(notebook, path)
    assert run(book) == {"one/first": "changed: code", "last": ""}  # their order counts
    notebook.cells[3].metadata["tags"] = ["parameters", "hide-input"]
    nbformat.write(notebook, path)
    assert run(book) == {"one/first": "changed: code", "last": ""}


def test_pages_are_rendered_again_only_if_they_would_show_something_else(book, monkeypatch, tmp_path):
    def build(*words, **options):
        (book / "_build" / "html").mkdir(exist_ok=True)
        (book / "_build" / "html" / "index.html").touch()
        return SimpleNamespace(returncode=fails, stdout="")

    fails = 0
    monkeypatch.setattr(runner, "execute", pretend_executed)
    monkeypatch.setattr(runner.subprocess, "run", build)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    run(book)
    assert not rendered(book, "facts")
    render(book, "facts")
    run(book)
    (book / "_build" / "stage" / "_status.md").write_text("built a moment later")
    assert rendered(book, "facts") and not rendered(book, "other facts")

    def changes(act):
        act()
        run(book)
        assert not rendered(book, "facts")
        render(book, "facts")
        assert rendered(book, "facts")

    changes(lambda: change(book, "one/first", "A chapter", "One chapter"))
    changes(lambda: (book / "intro.md").write_text("# Welcome\n\nAnother word.\n"))
    changes(lambda: (book / "_ext").mkdir() or (book / "_ext" / "own.py").write_text("a = 1"))
    changes(lambda: (book / "_ext" / "own.py").unlink())
    changes(lambda: (tmp_path / "packages" / "sphinx-99.dist-info").mkdir(parents=True))
    changes(lambda: (book / "_build" / "html" / "index.html").unlink())
    fails = 1
    with pytest.raises(ChapterError):
        render(book, "facts")
    assert not rendered(book, "facts")  # the pages of before may be half overwritten


@pytest.mark.parametrize("changed", ["profile", "parameters", "library"])
def test_what_else_makes_a_staged_chapter_stale(book, monkeypatch, tmp_path, changed):
    executed, module = [], tmp_path / "infocap" / "tangent.py"
    module.parent.mkdir()
    module.write_text("a = 1  # one")
    monkeypatch.setattr(runner, "__file__", str(module.parent / "study" / "runner.py"))

    def execute(book, name, parameters, facts, workers):
        executed.append(name)
        return pretend_executed(book, name, parameters, facts, workers)

    monkeypatch.setattr(runner, "execute", execute)
    run(book)
    run(book)
    assert executed == ["one/first", "last"]
    if changed == "library":
        module.write_text("a = 1  # a comment, which the page shows")
    parameters = USED | {"profile": "full"} if changed == "parameters" else USED
    outcome = run(book, parameters=parameters, profile="other" if changed == "profile" else "profile")
    assert set(outcome.values()) == {f"changed: {changed}"} and executed == ["one/first", "last"] * 2


FAULTS = {
    "in the cell": ("a = 1\nb = 0\n\na / b\n", 4, "a / b", "ZeroDivisionError: division by zero"),
    "below the cell": ("import json\njson.loads('{')", 2, "json.loads('{')", "JSONDecodeError: "),
    "in a function of an earlier cell": ("x = 1\nfail(x)", 2, "fail(x)", "ValueError: earlier"),
    "after another error": (
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('k')",
        4,
        "raise KeyError('k')",
        "KeyError: 'k'",
    ),
    "syntax": ("a = 1\nb = = 2", 2, "b = = 2", "SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cell_that_raises_is_named_with_its_line(book, fault):
    code, line, text, error = FAULTS[fault]
    write(book, "last", "def fail(x):\n    raise ValueError('earlier')", code, "print('not reached')")
    pretend_staged(book, "one/first")
    with pytest.raises(ChapterError) as caught:
        run(book, ["last"], USED | {"rate": 0.25})
    kept = book / "_build" / "failed" / "last.ipynb"
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{book / 'last.ipynb'}, cell 4 of 5, line {line}, `{text}`: {error}")
    assert second == f"the executed notebook is {kept}"
    outputs = [output for cell in nbformat.read(kept, as_version=4).cells for output in cell.get("outputs", [])]
    assert any(output.output_type == "error" for output in outputs)
    assert not (book / "_build" / "stage" / "last.ipynb").exists()


def pretend_staged(book, name):
    """The chapter counts as executed, so that the test starts one kernel only."""
    write(book / "_build" / "stage", name)


def test_a_kernel_that_dies_is_named(book):
    pretend_staged(book, "one/first")
    write(book, "last", "import os\nos._exit(1)")
    with pytest.raises(ChapterError, match=r"last\.ipynb: DeadKernelError: Kernel died"):
        run(book, ["last"])


def test_chapters_of_one_folder_run_at_the_same_time(book):
    toc = book / "_toc.yml"
    toc.write_text(toc.read_text().replace("  - file: last\n", "  - file: one/second\n"))
    for name in ("one/first", "one/second"):
        write(book, name, "import time", *["time.sleep(0.1)"] * 10, f"print({name!r})")
    names = ["one/first", "one/second"]
    stage(book, dict.fromkeys(names, USED), dict.fromkeys(names, {}), jobs=2)
    for name in ("one/first", "one/second"):
        assert staged(book, name).cells[-1].outputs[0].text == f"{name}\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_each_chapter_has_a_bar_with_the_remaining_time_in_a_terminal_only(book, monkeypatch):
    shown = []

    def execute_notebook(source, kept, parameters, *, progress_bar, **options):
        for terminal in (Terminal(), io.StringIO()):
            with tqdm(total=4, file=terminal, mininterval=0, ncols=80, **progress_bar) as bar:
                bar.update(1)
                bar.refresh()
            shown.append(terminal.getvalue())
        raise RuntimeError("enough seen")

    monkeypatch.setattr(runner.papermill, "execute_notebook", execute_notebook)
    assert "enough seen" in runner.execute(book, "last", USED, {}, workers=2)
    assert re.search(r"last:  25%\|.*\| 1/4 \[00:00<00:\d\d, ", shown[0]) and not shown[1]


def test_unknown_chapters_are_refused(book):
    with pytest.raises(ChapterError) as caught:
        run(book, ["one/frist"])
    expected = "only: no chapter 'one/frist'; accepted: one/first, last; did you mean 'one/first'?"
    assert str(caught.value) == expected


def test_a_folder_that_is_no_book_is_refused(tmp_path):
    with pytest.raises(ChapterError, match="book: got .*, which has no _toc.yml; accepted: the folder of the book"):
        chapters(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"profil": "quick"},
            "no parameter 'profil'; accepted: profile, settings, rate, flag, store; did you mean 'profile'?",
        ),
        ({"qqqq": 1}, "no parameter 'qqqq'; accepted: profile, settings, rate, flag, store"),
        ({"profile": 3}, "profile: got 3; accepted: a str, such as 'quick'"),
        ({"settings": "a=1"}, "settings: got 'a=1'; accepted: a list, such as []"),
        ({"rate": "0.5"}, "rate: got '0.5'; accepted: a float, such as 0.5"),
        ({"rate": True}, "rate: got True; accepted: a float, such as 0.5"),
        ({"flag": 1}, "flag: got 1; accepted: a bool, such as False"),
    ],
)
def test_parameters_that_a_chapter_lacks_or_mistypes_are_refused(book, parameters, message):
    with pytest.raises(ChapterError) as caught:
        run(book, parameters=parameters)
    assert str(caught.value) == f"{book / 'one' / 'first.ipynb'}: {message}"


def test_parameters_that_fit_are_accepted(book):
    check_parameters(book / "last.ipynb", {"rate": 1, "flag": True, "store": "folder", "settings": []})


def test_pages_that_do_not_render_are_an_error(book, monkeypatch):
    monkeypatch.setattr(runner.sys, "executable", "false")
    with pytest.raises(ChapterError, match="not rendered without warnings"):
        render(book)
