"""Names, folders and checksums: what a user may ask for and what a wrong request is answered."""

import doctest
import re
from pathlib import Path

import platformdirs
import pytest

from infocap import data
from infocap.data import folders, packed

ACCEPTED = "accepted: mnist, fashion-mnist, cifar10, cifar100, folder:<path>"


@pytest.mark.parametrize("function", [data.load, data.checksum, data.class_names])
@pytest.mark.parametrize(
    "name, nearest",
    [
        ("MNIST", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("cifar-10", "cifar10"),
        ("cifar1000", "cifar100"),
        ("folder", "folder:<path>"),
        ("folder:", "folder:<path>"),
        ("", "mnist"),
    ],
)
def test_unknown_name_suggests_the_nearest(function, name, nearest):
    with pytest.raises(ValueError) as error:
        function(name)
    assert str(error.value) == f"name: no data set {name!r}; did you mean {nearest!r}? {ACCEPTED}"


@pytest.mark.parametrize("function", [data.load, data.checksum, data.class_names])
def test_name_must_be_a_string(function):
    with pytest.raises(
        TypeError, match=f"^name: got {type(Path()).__name__}; accepted: a string, one of {ACCEPTED[10:]}$"
    ):
        function(Path("/"))


def test_root_must_be_a_path():
    with pytest.raises(TypeError, match="^root: got int; accepted: a path, or None for infocap.data.root()"):
        data.load("mnist", 3)


def test_root_is_the_environment_variable_or_the_user_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("INFOCAP_DATA", str(tmp_path))
    assert data.root() == tmp_path
    monkeypatch.setenv("INFOCAP_DATA", "~/somewhere")
    assert data.root() == Path.home() / "somewhere"
    default = platformdirs.user_cache_path("infocap") / "data"
    monkeypatch.setenv("INFOCAP_DATA", "")
    assert data.root() == default
    monkeypatch.delenv("INFOCAP_DATA")
    assert data.root() == default


def test_checksums_need_no_data_and_tell_the_sets_apart(tmp_path):
    names = ["mnist", "fashion-mnist", "cifar10", "cifar100"]
    found = [data.checksum(name, tmp_path / "missing") for name in names]
    assert len(set(found)) == 4 and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found)
    assert found == [data.checksum(name) for name in names]


def test_checksum_follows_the_contents(monkeypatch):
    before = data.checksum("mnist")
    monkeypatch.setitem(packed.FILES["mnist"], "t10k-labels-idx1-ubyte", "0" * 64)
    assert data.checksum("mnist") != before


def test_class_names():
    assert data.class_names("mnist") == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    clothes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    assert data.class_names("fashion-mnist") == tuple(clothes.split(","))


@pytest.mark.parametrize("module", [data, packed, folders])
def test_docstring_examples_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0 and failed == 0


def test_a_folder_without_its_prefix_is_recognized(tmp_path):
    with pytest.raises(ValueError, match=f"did you mean 'folder:{tmp_path}'"):
        data.load(str(tmp_path))
