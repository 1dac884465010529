"""No part that a chapter reads may be missed: its page would be stale."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from infocap.study.parts import parts_read

EVERYTHING = {"one", "two"}


def read(tmp_path, tables, *code, folder="one"):
    path = tmp_path / "book" / folder / "chapter.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("Part two"), *map(new_code_cell, code)]), path)
    return parts_read(path, tables)


@pytest.mark.parametrize(
    "code",
    [
        "from infocap.experiments import Book, code\ntoys = Book('quick').table('one/table')",
        "from infocap.experiments.catalogue import Book",
        "book.show_verdicts('one', ['first'])",
        "book.verdicts(part='one')",
        "book.profile.name, toys.panels",
        "book.profile.panels['one/table']['main'].cells",
        "book.catalogue.work('one/table', book.catalogue.load_profile('full'))",
        "twofold = 'two-fold, or: two parts'  # two/table",
        "profile.one.two_more",
    ],
)
def test_a_chapter_reads_its_own_part(two_parts, tmp_path, code):
    assert read(tmp_path, two_parts.tables, "1 + 1", code) == {"one"}


@pytest.mark.parametrize(
    "code",
    [
        "book.table('two/table')",
        "[book.table(f'two/{name}') for name in names]",
        "book.stored('two/table')",
        "profile.two.seeds",
        "profile.two[0]",
        "getattr(profile, 'two')",
        "import infocap.experiments.two",
        "from infocap.experiments.two import figures",
        "from infocap.experiments.two.results import curve",
        "from infocap.experiments import two as other",
        "from infocap.experiments.catalogue import CATALOGUE, Book",
        "book.catalogue.tables",
        "book.profile.panels",
        "book.profile.panels['two/table']",
        "book.catalogue.work(name, profile), book.catalogue.claims",
        "book.verdicts()",
        "book.verdicts(None, ['first'])",
        "book.verdicts(names=['first'])",
        "book.verdicts(part)",
        "book.verdicts(**chosen)",
        "book.show_verdicts('two')",
        "from infocap.experiments.catalogue import *",
        "from infocap.experiments import catalogue",
        "import infocap.experiments.catalogue as c",
        "%matplotlib inline",
    ],
)
def test_a_chapter_reads_what_its_code_names(two_parts, tmp_path, code):
    assert read(tmp_path, two_parts.tables, "1 + 1", code) == EVERYTHING


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_a_page_outside_the_parts_reads_all(two_parts, tmp_path, folder):
    assert read(tmp_path, two_parts.tables, "1 + 1", folder=folder) == EVERYTHING


@pytest.mark.parametrize("module", ["one/figures", "one/methods/mine"])
def test_what_the_code_of_a_part_names_counts_too(two_parts, package, tmp_path, module):
    assert read(tmp_path, two_parts.tables, "1 + 1") == {"one"}
    package.write(module, "from PACKAGE.two import table")
    assert read(tmp_path, two_parts.tables, "1 + 1") == EVERYTHING
    assert read(tmp_path, two_parts.tables, "1 + 1", folder="two") == {"two"}
