"""A key changes with everything that decides a result, and with nothing else."""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import infocap.networks
from infocap._registry import Registry
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.distillation import methods as students
from infocap.experiments.noisy_labels import methods
from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.sample_information import applications, shifts
from infocap.experiments.sample_information import methods as scores
from infocap.networks import NETWORKS
from infocap.study import cells
from infocap.study.cells import code_fingerprint, fields, key


def test_every_field_changes_the_key(package):
    table = package.load()
    cell = table.Cell(3, 1)
    assert key(cell) == key(table.Cell(3, 1))
    assert len({key(cell), key(replace(cell, x=4)), key(replace(cell, seed=2))}) == 3


def test_every_field_of_a_real_cell_changes_its_key():
    cell = next(cell for cell in CATALOGUE.load_profile("smoke").cells("noisy_labels/training") if not cell.dropout)
    other = {str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v + 0.5, bool: lambda v: not v}
    other[tuple] = lambda v: (*v, 1)
    named = {"method": "MAE", "network": "cnn"}  # names that must be known
    keys = [
        key(replace(cell, **{name: named.get(name) or other[type(value)](value)})) for name, value in vars(cell).items()
    ]
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
    with pytest.raises(
        ValueError, match="module: got 'typed_at_a_prompt', which has no source file to count; accepted"
    ):
        key(Cell(1))


def test_fields_are_what_json_makes_of_them():
    @dataclass(frozen=True)
    class Cell:
        widths: tuple[int, ...]

    assert fields(Cell((16, 8))) == {"widths": [16, 8]}


CATALOGUE_MODULES = {module.__name__: module for module in CATALOGUE.tables.values()}


def imported(*modules):
    """The modules whose code counts."""
    seen, pending = set(), list(modules)
    while pending:
        module = pending.pop()
        found = cells._read(module)
        if found and module not in seen:
            seen.add(module)
            pending += [other for other in found[1] if other.split(".")[0] == "infocap"]
    return seen


@pytest.mark.parametrize("name", CATALOGUE.tables)
def test_tables_do_not_depend_on_the_machinery(name):
    """Otherwise a better error message in the command line would recompute every result."""
    seen = imported(CATALOGUE.tables[name].__name__)
    assert len(seen) > 1
    assert {module for module in seen if module.startswith("infocap.study")} <= {"infocap.study.fields"}


ON_THEIR_OWN = {  # files whose function a cell's name decides, and nothing else
    f"{package.__name__}.{path.stem}"
    for package in (infocap.networks, methods, scores, shifts, students, applications)
    for path in Path(package.__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "pairs")
}


def names_in(cell):
    """The methods and architectures that a cell names, each with its registry."""
    own = getattr(CATALOGUE_MODULES[type(cell).__module__], "OWN", {})
    registries = {field: registry for field, registry in own.values() if isinstance(registry, Registry)}
    registries |= {field: NETWORKS for field in ("teacher", "student", "students", "network") if hasattr(cell, field)}
    for field, registry in registries.items():
        value = getattr(cell, field)
        yield from ((registry, name) for name in (value if isinstance(value, tuple) else (value,)))


@pytest.mark.parametrize("name", CATALOGUE.tables)
def test_methods_and_networks_are_in_the_keys_of_the_cells_that_name_them_and_in_no_others(name):
    assert not imported(CATALOGUE.tables[name].__name__) & ON_THEIR_OWN  # no measured module imports one
    for cell in cells_of(name):
        for registry, own in names_in(cell):
            assert registry.module(own) in ON_THEIR_OWN & set(cell.code()), (name, own)


def test_methods_do_not_import_each_other():
    for module in sorted(ON_THEIR_OWN):
        if not module.startswith(applications.__name__):  # an experiment may use the book's scores
            assert imported(module) & ON_THEIR_OWN == {module}


NEW = """from {package} import {name}


@{register}("new")
def new({arguments}):
    return None
"""


def test_a_new_method_or_network_leaves_the_keys_of_all_other_cells_as_they_are(monkeypatch, tmp_path):
    """As files beside the book's, which a registry finds; each changes nothing but what names it."""
    before = {name: [key(cell) for cell in cells_of(name)] for name in CATALOGUE.tables}
    for package, text in [
        (methods, NEW.format(package=methods.__name__, name="method", register="method", arguments="cell, split")),
        (
            infocap.networks,
            NEW.format(package="infocap.networks", name="NETWORKS", register="NETWORKS.register", arguments="n"),
        ),
    ]:
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "brand_new.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    fresh = (METHODS, NETWORKS)
    for registry in fresh:
        monkeypatch.setattr(registry, "_complete", False)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    importlib.invalidate_caches()
    cells.code_fingerprint.cache_clear()
    cells._read.cache_clear()
    assert "new" in METHODS and "new" in NETWORKS  # found
    assert {name: [key(cell) for cell in cells_of(name)] for name in CATALOGUE.tables} == before
    cell = cells_of("noisy_labels/training")[0]
    assert "infocap.experiments.noisy_labels.methods.brand_new" in replace(cell, method="new").code()
    assert key(replace(cell, method="new")) != key(cell)


def test_a_method_of_a_notebook_cannot_be_stored():
    """It has no file that could enter the key: a result would be found again after the function has changed."""

    def mine(cell, split): ...

    mine.__module__ = "__main__"
    cell = cells_of("noisy_labels/training")[0]
    with METHODS.lent("my loss", mine), pytest.raises(ValueError, match="module: got '__main__', which has no source"):
        key(replace(cell, method="my loss"))


def cells_of(name):
    return CATALOGUE.load_profile("smoke").cells(name)
