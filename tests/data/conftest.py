import pytest

from infocap.data import packed


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that holds both packed data sets, unpacked once for all tests; tests that damage one copy it first."""
    folder = tmp_path_factory.mktemp("infocap-data")
    packed.unpack("mnist", folder / "MNIST" / "raw")
    packed.unpack("fashion-mnist", folder / "FashionMNIST" / "raw")
    return folder


@pytest.fixture(autouse=True)
def no_user_cache(monkeypatch, cache):
    monkeypatch.setenv("INFOCAP_DATA", str(cache))
