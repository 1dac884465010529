"""The cells of the smoke profile, computed once for all tests that run chapters."""

import pytest

from infocap.experiments.catalogue import CATALOGUE
from infocap.study.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The cells of the smoke profile, computed once for all chapters."""
    folder = tmp_path_factory.mktemp("store")
    progress = CATALOGUE.compute(list(CATALOGUE.tables), CATALOGUE.load_profile("smoke"), Store(folder), progress=False)
    assert progress.computed and not progress.reused
    return folder
