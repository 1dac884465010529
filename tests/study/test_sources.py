"""What `code(...)` shows is what the files hold, and its names say where they come from."""

import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import infocap
from infocap import information, noise, training
from infocap._registry import Entry
from infocap.study import sources, tables
from infocap.study.sources import code

LIBRARY = Path(infocap.__file__).parents[1]
STUDENT = '''\
"""A student's module."""
import json
from functools import partial
from infocap import information, noise as noises
from infocap.noise import corrupt
from infocap.training import Fit
from infocap.study.style import styled

def shown(fits: Fit, draw=corrupt):
    """Not corrupt, but "<b>" & '</pre>'."""
    é = "ü", draw(corrupt), information.entropy(json)
    def inner(entropy): return noises.corrupt  # corrupt
    json.dumps(é)
    return [information for information in (other, None)], fits.corrupt, sum

def shadowed(corrupt, information):
    Fit = corrupt, information.entropy
    return Fit

def other(): return lambda: partial
made, again = other(), other
def late(): return late
@styled
def drawn(): return 1
'''


@pytest.fixture
def student(tmp_path, monkeypatch):
    (tmp_path / "student.py").write_text(STUDENT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "student", raising=False)
    yield importlib.import_module("student")
    del sys.modules["student"]


def names(source):
    lines = source.text.splitlines()
    return {(lines[line - 1][column:], target) for (line, column), target in source.names.items()}


@pytest.mark.parametrize(
    "thing", [training.fit, training.Fit, information.entropy, tables.Table, sources.Sources._repr_html_, Entry]
)
def test_text_file_and_line_are_those_of_the_file(thing):
    (source,) = code(thing)
    lines = (LIBRARY / source.file).read_text(encoding="utf-8").splitlines()[source.line - 1 :]
    indent = len(lines[0]) - len(lines[0].lstrip())
    assert [line[indent:] for line in lines[: len(source.text.splitlines())]] == source.text.splitlines()
    assert source.text.startswith((f"def {thing.__name__}(", f"class {thing.__name__}", "@dataclass"))
    assert source.name == thing.__qualname__
    assert source.target == f"{thing.__module__}#{thing.__qualname__}"


def test_a_package_has_the_path_of_its_own_file():
    data = importlib.import_module("infocap.data")
    assert code(data.load)[0].file == "infocap/data/__init__.py"


def test_what_stands_for_a_function_shows_the_function():
    @functools.wraps(information.entropy)
    def wrapped(*args):
        return information.entropy(*args)

    entry = Entry("named", information.entropy)
    stand_ins = [wrapped, entry, functools.partial(wrapped), functools.partial(entry), functools.partial(entry, axis=0)]
    (function,) = code(information.entropy)
    assert all(source == function for source in code(*stand_ins)) and len(code(*stand_ins)) == 5
    assert code(sources.Sources()._repr_html_) == code(sources.Sources._repr_html_)


def test_a_module_shows_what_it_defines_in_its_order(student):
    assert [source.name for source in code(student)] == ["shown", "shadowed", "other", "late", "drawn"]
    assert {source.file for source in code(student)} == {"student.py"}
    assert {source.file for source in code(noise)} == {"infocap/noise.py"}
    assert {source.name for source in code(noise)} >= {"corrupt", "pair_transition", "uniform_transition"}


@pytest.mark.parametrize("thing", [3, "fit", len, None, [training.fit], int, information.entropy.__name__])
def test_anything_else_is_refused(thing):
    with pytest.raises(TypeError, match="things: got .*; accepted: functions, classes and modules"):
        code(training.fit, thing)


def test_names_that_the_module_gives_a_meaning_are_linked(student):
    (source,) = code(student.shown)
    assert {(text[:12], target) for text, target in names(source)} == {
        ("Fit, draw=co", "infocap.training.loop#Fit"),
        ("corrupt):", "infocap.noise#corrupt"),
        ("corrupt), in", "infocap.noise#corrupt"),
        ("corrupt  # c", "infocap.noise#corrupt"),
        ("dumps(é)", "json#dumps"),
        ("other, None)", "student#other"),
    }
    assert code(student.shadowed)[0].names == {}
    assert {target for _, target in names(code(student.late)[0])} == {"student#late"}


def test_a_function_inside_another_leads_to_that_one(student):
    (source,) = code(student.made)
    assert source.target == "student#other" and source.name == "other.<locals>.<lambda>"


def test_html_is_folded_and_holds_the_text(student):
    page = BeautifulSoup(code(student.shown, training.fit)._repr_html_(), "html.parser")
    shown = page.select("div.source")
    assert [source.pre.get_text().rstrip("\n") for source in shown] == [
        source.text for source in code(student.shown, training.fit)
    ]
    assert [" ".join(source.summary.get_text().split()) for source in shown] == [
        "shown, student.py, line 9",
        f"fit, infocap/training/loop.py, line {code(training.fit)[0].line}",
    ]
    assert not page.select("details[open], summary a")
    assert {tag.name for tag in page.find_all()} == {"details", "summary", "div", "pre", "code", "span", "a"}
    assert {link["data-source"] for link in shown[0].find_all("a")} == {
        "infocap.training.loop#Fit",
        "infocap.noise#corrupt",
    }
    assert shown[1].a["data-source"] == "infocap.training.loop#fit" and shown[1].a.get_text() == ""
    assert not page.select("[href], [id]")  # no address before the pages are rendered


def test_the_text_names_files_and_lines(student):
    first, second = repr(code(student.late, student.shadowed)).split("\n\n")
    assert first == f"# late, student.py, line {len(STUDENT.splitlines()) - 2}\ndef late(): return late"
    assert second.startswith("# shadowed, student.py, line 16\ndef shadowed(corrupt, information):\n")


def test_a_function_of_a_notebook_has_no_file():
    cell = "from infocap.noise import corrupt\ndef mine(labels): return corrupt(labels)"
    shell = f"""
from IPython.core.interactiveshell import InteractiveShell
from infocap.study.sources import code
shell = InteractiveShell.instance()
shell.run_cell({cell!r})
shown = code(shell.user_ns["mine"])
print(shown)
print(shown._repr_html_().count("data-source"), shown[0].names)
"""
    run = subprocess.run([sys.executable, "-c", shell], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "# mine, this notebook, line 2",
        "def mine(labels): return corrupt(labels)",
        "1 {(1, 25): 'infocap.noise#corrupt'}",
    ]
