"""A package with one small table, and the catalogue around it."""

import importlib
import itertools
import os
import sys
from textwrap import dedent

import pytest

from infocap.study import cells
from infocap.study.catalogue import Catalogue
from infocap.study.claims import claim, exceeds

TABLE = '''
"""A table."""
import time
from dataclasses import dataclass

import numpy as np

from PACKAGE.helper import double


@dataclass(frozen=True)
class Cell:
    """One toy."""

    x: int
    seed: int = 0


GRID = {"seeds": "seed", "xs": "x"}


def measure(cell):
    """Twice x plus the seed."""
    time.sleep(0.02)
    if cell.x == 13:
        raise ValueError("x: got 13; accepted: luckier numbers")
    curve = {"loss": [1.0, float("nan")]}
    return {"y": double(cell.x) + cell.seed / 3, "squares": np.arange(cell.x) ** 2, "curve": curve}
'''
HELPER = '''
"""Helps."""


def double(x):
    """Twice x."""
    return 2 * x  # no more
'''
_numbers = itertools.count()


class Package:
    """A package on ``sys.path`` whose modules a test can rewrite."""

    def __init__(self, folder):
        self.name, self.path = f"toys_{next(_numbers)}", folder
        self.write("__init__", "")
        self.write("helper", HELPER)
        self.write("table", TABLE)

    def write(self, module, text):
        file = self.path / self.name / f"{module}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text).replace("PACKAGE", self.name))

    def replace(self, module, old, new):
        text = (self.path / self.name / f"{module}.py").read_text()
        assert old in text
        self.write(module, text.replace(old, new))

    def load(self, module="table"):
        """Imports it as a new process would."""
        for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        cells.code_fingerprint.cache_clear()
        cells._read.cache_clear()
        return importlib.import_module(f"{self.name}.{module}")


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)  # for worker processes
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a rewritten module may keep its size and second
    return Package(folder)


@pytest.fixture
def profiles(tmp_path):
    """Writes the three profiles of some tables: three numbers, and one, two or three seeds."""

    def write(*tables):
        folder = tmp_path / "profiles"
        folder.mkdir()
        for name, seeds in {"smoke": [0], "quick": [0, 1], "full": [0, 1, 2]}.items():
            panels = "".join(f"[{table}.main]\nxs = [1, 2, 3]\nseeds = {seeds}\n" for table in tables)
            (folder / f"{name}.toml").write_text(f'device = "cpu"\n{panels}')
        return folder

    return write


@pytest.fixture
def catalogue(package, profiles):
    """What ``infocap.experiments.catalogue`` has for the book."""

    @claim("y exceeds one half.", kind="book", source="here", table="toy/table")
    def positive(table):
        return exceeds(table.frame["y"].tolist(), 0.5, "y")

    return Catalogue({"toy/table": package.load()}, [positive], profiles("toy.table"))


@pytest.fixture
def two_parts(package, profiles):
    """A catalogue of two parts, each with its section of the profile, its folder of code and one table."""
    for part in ("one", "two"):
        package.write(f"{part}/__init__", "")
        package.write(f"{part}/table", TABLE)
    modules = {"one": package.load("one.table"), "two": importlib.import_module(f"{package.name}.two.table")}
    folder = profiles("one.table", "two.table")
    return Catalogue({f"{part}/table": module for part, module in modules.items()}, [], folder)
