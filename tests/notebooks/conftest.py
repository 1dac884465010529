"""The cells of the smoke profile, computed once for all tests that run chapters."""

import os

import pytest
from filelock import FileLock

from infocap.experiments.catalogue import CATALOGUE
from infocap.study.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The cells of the smoke profile, computed once for all chapters and for all processes of one run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / "smoke.lock"):
        folder, profile = shared / "smoke", CATALOGUE.load_profile("smoke")
        work = [task for name in CATALOGUE.tables for task in CATALOGUE.work(name, profile)]
        progress = CATALOGUE.compute(work, profile, Store(folder), progress=False)
    assert bool(progress.computed) != bool(progress.reused)  # all by this process, or all by another one
    return folder


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    """What a page computes itself takes less time than workers to start; tests of ``also`` start some."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
