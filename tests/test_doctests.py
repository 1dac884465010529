"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import infocap

MODULES = [m.name for m in pkgutil.walk_packages(infocap.__path__, "infocap.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    examples = [example for test in doctest.DocTestFinder().find(module) for example in test.examples]
    assert not any(doctest.SKIP in example.options for example in examples)
    assert doctest.testmod(module).failed == 0
