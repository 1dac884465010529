"""A key changes with everything that decides a result, and with nothing else."""

from dataclasses import dataclass, replace

import pytest

from infocap.experiments import catalogue as book
from infocap.study import cells
from infocap.study.cells import code_fingerprint, fields, key


def test_every_field_changes_the_key(package):
    table = package.load()
    cell = table.Cell(3, 1)
    assert key(cell) == key(table.Cell(3, 1))
    assert len({key(cell), key(replace(cell, x=4)), key(replace(cell, seed=2))}) == 3


def test_every_field_of_a_real_cell_changes_its_key():
    module = book.TABLES["noisy_labels/training"]
    cell = module.cells(book.load_profile("smoke"))[0]
    other = {str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v + 0.5, bool: lambda v: not v}
    other[tuple] = lambda v: (*v, 1)
    keys = [key(replace(cell, **{name: other[type(value)](value)})) for name, value in vars(cell).items()]
    assert len({key(cell), *keys}) == 1 + len(keys)


def test_the_data_changes_the_key(package):
    cell = package.load().Cell(3)
    assert len({key(cell), key(cell, "a"), key(cell, "b")}) == 3


@pytest.mark.parametrize(
    ("module", "old", "new", "changes"),
    [
        ("helper", "return 2 * x", "return 3 * x", True),  # imported by the table
        ("table", "cell.seed / 3", "cell.seed / 4", True),
        ("table", "seed: int = 0", "seed: int = 1", True),
        ("helper", "# no more", "# no less", False),
        ("helper", '"""Twice x."""', '"""Two times x."""', False),
        ("helper", '"""Helps."""', "", False),
        ("table", '"""One toy."""', '"""A toy."""', False),
        ("table", "\n\n\ndef", "\ndef", False),
        ("other", "a = 1", "a = 2", False),  # imported by nothing
    ],
)
def test_code_changes_the_key_and_comments_do_not(package, module, old, new, changes):
    package.write("other", "a = 1")
    before = key(package.load().Cell(3, 1))
    package.replace(module, old, new)
    assert (key(package.load().Cell(3, 1)) != before) == changes


@pytest.mark.parametrize(
    "statement",
    ["import PACKAGE.deep", "from PACKAGE import deep", "from PACKAGE.deep import a", "from PACKAGE.deep import *"],
)
def test_imports_are_followed_however_they_are_written(package, statement):
    package.write("deep", "a = 1")
    package.replace("helper", "return 2 * x", "return 2 * x + a")
    text = (package.path / package.name / "helper.py").read_text()
    package.write("helper", f"{statement}\n{text}")
    package.load()
    before = code_fingerprint(f"{package.name}.table")
    package.write("deep", "a = 2")
    package.load()
    assert code_fingerprint(f"{package.name}.table") != before


def test_relative_imports_are_refused(package):
    package.replace("table", "from PACKAGE.helper".replace("PACKAGE", package.name), "from .helper")
    with pytest.raises(ValueError, match=rf"{package.name}\.table, line \d+: a relative import; accepted: absolute"):
        key(package.load().Cell(1))


def test_a_cell_without_source_is_refused():
    @dataclass(frozen=True)
    class Cell:
        x: int

    Cell.__module__ = "typed_at_a_prompt"
    with pytest.raises(ValueError, match="module: got 'typed_at_a_prompt', which has no source file; accepted"):
        key(Cell(1))


def test_fields_are_what_json_makes_of_them():
    @dataclass(frozen=True)
    class Cell:
        widths: tuple[int, ...]

    assert fields(Cell((16, 8))) == {"widths": [16, 8]}


@pytest.mark.parametrize("name", book.TABLES)
def test_tables_do_not_depend_on_the_machinery(name):
    """Otherwise a better error message in the command line would recompute every result."""
    seen, pending = set(), [book.TABLES[name].__name__]
    while pending:
        module = pending.pop()
        found = cells._read(module)
        if found and module not in seen:
            seen.add(module)
            pending += [other for other in found[1] if other.split(".")[0] == "infocap"]
    assert len(seen) > 1
    assert not [module for module in seen if module.startswith("infocap.study")]
