"""A reader's own method runs beside the book's, on the same cells, and nothing of it stays."""

import re
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor

from infocap._registry import Registry
from infocap.study.book import Book
from infocap.study.catalogue import Catalogue
from infocap.study.claims import claim, exceeds
from infocap.study.store import Store
from infocap.study.sweep import SweepError
from infocap.study.tables import NotRun

METHODS = '''
"""Methods."""
from infocap._registry import Registry

METHODS = Registry(__name__, "METHODS", "method")
'''
PLUS = '''
"""One method."""
from PACKAGE.methods import METHODS


@METHODS.register("plus", by=1)
@METHODS.register("plus two", by=2, shows={"scale": "s"})
def plus(cell, by):
    """Adds."""
    return cell.x + by
'''
TABLE = '''
"""A table with methods."""
from dataclasses import dataclass

from PACKAGE.methods import METHODS
from infocap.study.fields import Options, registered

GRID = {"xs": "x", "methods": Options, "seeds": "seed"}
OWN = {"method": ("method", METHODS)}


@dataclass(frozen=True)
class Cell:
    """One number and one method."""

    x: int
    method: registered(METHODS)
    seed: int = 0
    scale: float = 1.0

    def code(self):
        return [METHODS.module(self.method)]


def measure(cell):
    """The method's number."""
    return {"y": cell.scale * METHODS[cell.method](cell)}
'''
PROFILE = """
[toy.table.main]
xs = [1, 2]
seeds = [0, 1]
methods = [{ method = "plus" }, { method = "plus two", scale = 10 }]
"""


@pytest.fixture
def catalogue(package, tmp_path):
    for name, text in {"methods/__init__": METHODS, "methods/plus": PLUS, "table": TABLE}.items():
        (package.path / package.name / name).parent.mkdir(parents=True, exist_ok=True)
        package.write(name, text)
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "quick.toml").write_text(PROFILE)

    @claim("y is large.", kind="book", source="here", table="toy/table", note="Toys.")
    def large(table):
        """The mean exceeds 1."""
        return exceeds(table.panel("main")["y"].tolist(), 1, "y")

    return Catalogue({"toy/table": package.load()}, [large], folder)


@pytest.fixture
def book(catalogue, tmp_path):
    book = Book(catalogue, "quick", store=tmp_path / "store")
    catalogue.compute(catalogue.work("toy/table", book.profile), book.profile, book.store, jobs=1, progress=False)
    return book


def test_a_table_has_its_panels_and_their_cells(book):
    table = book.table("toy/table")
    assert table.panel("main")["y"].tolist() == [2, 2, 30, 30, 3, 3, 40, 40]
    assert [cell.method for cell in table.cells("main")] == table.frame["method"].tolist()
    assert book.table("toy/table") is table  # read once
    with pytest.raises(NotRun, match="panel other: not in this profile; accepted: main"):
        table.cells("other")
    with pytest.raises(ValueError, match="name: no table 'toy/tabel'; accepted: toy/table"):
        book.table("toy/tabel")


def test_a_catalogue_computes_the_listed_cells_of_any_tables(two_parts, tmp_path):
    profile, store = two_parts.load_profile("smoke"), Store(tmp_path / "store")
    first = [two_parts.work(name, profile)[0] for name in two_parts.tables]
    assert two_parts.compute(first, profile, store, jobs=1, progress=False).computed == 2
    assert {key: store.get(key).table for key in store} == {task.key: task.table for task in first}
    assert {task.table for task in first} == {"one/table", "two/table"}


def test_an_own_method_runs_on_the_cells_of_the_panel_and_stores_nothing(book, capsys):
    table = book.table("toy/table")
    before = list(book.store)

    def minus(cell):
        return cell.x - 1

    rows = table.also(minus, "main", jobs=1)
    assert rows[["x", "seed"]].values.tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]  # once for each x and seed
    assert set(rows["method"]) == {"minus"} and rows["scale"].eq(1.0).all()  # the options of the book's are not its own
    assert rows["y"].tolist() == [0, 0, 1, 1] and set(rows) == set(table.frame)
    assert list(book.store) == before
    said = capsys.readouterr().out
    assert re.fullmatch(r"minus on panel main: 4 cells, \d+ s; computed here, not stored\n", said)
    assert "minus" not in book.catalogue.tables["toy/table"].METHODS  # lent for a while


def test_it_runs_in_parallel_and_a_function_of_a_notebook_reaches_the_workers(book):
    notebook = ModuleType("__main__")
    get_reusable_executor().shutdown(wait=True)  # a pool of an earlier test would not know the package
    exec("def minus(cell):\n    return cell.x - step\n\n\nstep = 3\n", vars(notebook))
    rows = book.table("toy/table").also(notebook.minus, "main", jobs=2)
    assert rows["y"].tolist() == [-2, -2, -1, -1]


def test_workers_look_where_the_reader_is_now(book, tmp_path, monkeypatch):
    """A relative path means the same in all of them, though the pool is older than the move."""
    notebook = ModuleType("__main__")
    get_reusable_executor().shutdown(wait=True)  # as above
    exec("from pathlib import Path\n\n\ndef here(cell):\n    return int(Path('y').read_text())\n", vars(notebook))
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "y").write_text(str(number))
        monkeypatch.chdir(tmp_path / str(number))
        assert set(book.table("toy/table").also(notebook.here, "main", jobs=2)["y"]) == {number}


def test_a_change_of_fields_and_a_method_of_the_book(book):
    table = book.table("toy/table")
    assert table.also("plus two", "main", jobs=1)["y"].tolist() == [30, 30, 40, 40]  # its own variants
    assert table.also(None, "main", jobs=1, x=5, seed=0)["y"].tolist() == [6, 70]
    rows = table.also(lambda cell: cell.x, "main", jobs=1, scale=np.float64(3))
    assert rows["y"].tolist() == [3, 3, 6, 6] and set(rows["method"]) == {"own method"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({}, TypeError, "also: got nothing of yours; accepted: a method, network, data, or fields of the cell"),
        ({"network": min}, TypeError, "network: the table toy/table takes none; accepted: method"),
        ({"data": "mnist"}, TypeError, "data: the table toy/table takes none; accepted: method"),
        ({"method": min, "epochs": 3}, TypeError, "epochs: no field of a cell of toy/table; accepted: method, scale,"),
        ({"method": min, "scale": "wide"}, ValueError, "scale: got 'wide'; input should be a valid number"),
        ({"method": "pluss"}, ValueError, "method: no method 'pluss'; accepted: .*did you mean 'plus'"),
        ({"method": min, "panel": "mian"}, NotRun, "panel mian: not in this profile; accepted: main"),
    ],
)
def test_what_it_refuses(book, call, error, message):
    with pytest.raises(error, match=message):
        book.table("toy/table").also(jobs=1, **call)


def test_a_name_of_the_books_is_refused(book):
    def plus(cell):
        return 0

    with pytest.raises(ValueError, match="method: the name 'plus' is one of the book's; accepted: another name"):
        book.table("toy/table").also(plus, jobs=1)


def test_a_method_that_fails_says_where(book):
    def broken(cell):
        raise ZeroDivisionError("by hand")

    with pytest.raises(SweepError, match="broken on panel main:\n(.|\n)*ZeroDivisionError: by hand"):
        book.table("toy/table").also(broken, jobs=1)


def test_a_registered_function_that_is_swept_is_refused(book, catalogue):
    """A notebook's function under the book's decorator: its results would be found again after it has changed."""
    methods = sys.modules[catalogue.tables["toy/table"].__name__].METHODS
    assert isinstance(methods, Registry)

    def mine(cell):
        return 0

    mine.__module__ = "__main__"
    methods.register("mine")(mine)
    before = list(book.store)
    with pytest.raises(ValueError, match="module: got '__main__', which has no source file to count"):
        Book(catalogue, "quick", ["toy.table.main.methods=[{method='mine'}]"], book.store.root).table("toy/table")
    assert list(Store(book.store.root)) == before
    rows = book.table("toy/table").also(mine, jobs=1)  # the way that remains
    assert set(rows["method"]) == {"mine"} and set(rows["y"]) == {0}


def test_verdicts_and_what_a_chapter_prints(book):
    rows = book.verdicts("toy")
    assert rows["verdict"].tolist() == ["reproduced"] and rows["full"].tolist() == [None]
    pd.testing.assert_frame_equal(rows, book.verdicts())
    assert "reproduced" in book.show_verdicts("toy", ["large"]).to_html()
    with pytest.raises(ValueError, match="part: no claims of 'toi'"):
        book.verdicts("toi")
    assert "profile `quick`" in book.time_to_run() and "toy/table: 8 of 8 cells" in book.provenance()


def test_without_stored_results_one_line_says_what_helps(book, tmp_path):
    with pytest.raises(ValueError, match=r"results: no stored results beside the library; accepted: Book\(\.\.\., res"):
        book.stored("toy/table")
    other = Book(book.catalogue, results=tmp_path / "kept", store=book.store.root)
    with pytest.raises(ValueError, match="kept/full/toy_table.json: no such file; accepted: Book"):
        other.stored("toy/table")
