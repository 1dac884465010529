"""A package with one small table, and the catalogue around it."""

import importlib
import itertools
import os
import sys
from textwrap import dedent
from types import SimpleNamespace

import pytest
from pydantic import BaseModel, ConfigDict, Field

from infocap.study import cells, profiles
from infocap.study.claims import Claim, exceeds
from infocap.study.sweep import sweep, tasks

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


def cells(profile):
    """All toys."""
    return [Cell(x, seed) for seed in range(profile.seeds) for x in profile.xs]


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


class Size(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    device: str
    xs: list[int]
    seeds: int = Field(ge=1)


def with_functions(book):
    """Adds what every catalogue does with its tables."""
    book.work = lambda name, profile: tasks(name, book.TABLES[name], profile)

    def compute(names, profile, store, **options):
        work = [task for name in names for task in book.work(name, profile)]
        return sweep(work, {name: book.TABLES[name].measure for name in names}, store, **options)

    book.compute = compute
    return book


@pytest.fixture
def catalogue(package, tmp_path):
    """What ``infocap.experiments.catalogue`` is to the book."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    for name, seeds in {"smoke": 1, "quick": 2, "full": 3}.items():
        (folder / f"{name}.toml").write_text(f'device = "cpu"\nxs = [1, 2, 3]\nseeds = {seeds}\n')

    def rule(table, profile):
        return exceeds(table.frame["y"].tolist(), 0.5, "y")

    book = SimpleNamespace(
        TABLES={"toy/table": package.load()},
        CLAIMS=[Claim("toy/positive", "y exceeds one half.", "book", "here", "toy/table", rule)],
        load_profile=lambda name="quick", settings=(): profiles.load(Size, folder, name, settings),
    )
    return with_functions(book)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    xs: list[int]
    seeds: int


class TwoParts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    device: str
    one: Section
    two: Section


@pytest.fixture
def two_parts(package, tmp_path):
    """A catalogue of two parts, each with its section of the profile, its folder of code and one table."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    for name in ("smoke", "quick", "full"):
        sections = "".join(f"[{part}]\nxs = [1, 2, 3]\nseeds = 1\n" for part in ("one", "two"))
        (folder / f"{name}.toml").write_text(f'device = "cpu"\n{sections}')
    for part in ("one", "two"):
        package.write(f"{part}/__init__", "")
        package.write(f"{part}/table", TABLE.replace("profile.", f"profile.{part}."))
    modules = {"one": package.load("one.table"), "two": importlib.import_module(f"{package.name}.two.table")}
    book = SimpleNamespace(
        TABLES={f"{part}/table": module for part, module in modules.items()},
        load_profile=lambda name="quick", settings=(): profiles.load(TwoParts, folder, name, settings),
    )
    return with_functions(book)
