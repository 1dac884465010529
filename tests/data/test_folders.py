"""Image folders: what is written is what is read, and each way to get the tree wrong has its message."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from infocap import data
from infocap.data import folders


@pytest.fixture
def tree(tmp_path):
    """Two classes, 3 + 2 training and 1 + 1 test images of 5 x 4 pixels; the folder and the arrays in file order."""
    generator = np.random.default_rng(0)
    written = {}
    for file in ("train/cat/a", "train/cat/b", "train/cat/c", "train/dog/a", "train/dog/b", "test/cat/x", "test/dog/y"):
        pixels = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        path = tmp_path / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        written[file] = pixels
    return tmp_path, written


def images(written, split):
    pixels = np.stack([array for file, array in written.items() if file.startswith(split)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def test_round_trip(tree):
    folder, written = tree
    loaded = data.load(f"folder:{folder}")
    assert torch.equal(loaded.train_inputs, images(written, "train"))
    assert torch.equal(loaded.test_inputs, images(written, "test"))
    assert loaded.train_inputs.dtype == torch.float32 and loaded.train_inputs.is_contiguous()
    assert loaded.train_labels.tolist() == [0, 0, 0, 1, 1] and loaded.test_labels.tolist() == [0, 1]
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == torch.int64
    assert data.class_names(f"folder:{folder}") == ("cat", "dog")


def test_order_survives_the_thread_pool(tree, monkeypatch):
    folder, written = tree
    monkeypatch.setattr(folders, "_BLOCK", 2)
    assert torch.equal(data.load(f"folder:{folder}").train_inputs, images(written, "train"))


def test_relative_path(tree, monkeypatch):
    folder, written = tree
    monkeypatch.chdir(folder.parent)
    assert torch.equal(data.load(f"folder:{folder.name}").test_inputs, images(written, "test"))


def test_grey_images_get_three_equal_channels(tree):
    folder, _ = tree
    Image.new("L", (5, 4), 51).save(folder / "test/cat/x.png")
    assert torch.equal(data.load(f"folder:{folder}").test_inputs[0], torch.full((3, 4, 5), 0.2))


def test_checksum_depends_on_paths_and_contents_only(tree, tmp_path_factory):
    folder, _ = tree
    before = data.checksum(f"folder:{folder}")
    assert re.fullmatch("[0-9a-f]{64}", before)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.rglob("*.png"):
        copy = elsewhere / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (elsewhere / "notes.txt").touch()
    assert data.checksum(f"folder:{elsewhere}") == before

    folders.digest.cache_clear()
    (folder / "test/cat/x.png").rename(folder / "test/cat/z.png")
    renamed = data.checksum(f"folder:{folder}")
    folders.digest.cache_clear()
    Image.new("RGB", (5, 4)).save(folder / "test/cat/z.png")
    assert len({before, renamed, data.checksum(f"folder:{folder}")}) == 3


def test_checksum_is_computed_once_per_process(tree, monkeypatch):
    folder, _ = tree
    before = data.checksum(f"folder:{folder}")
    monkeypatch.setattr("torchvision.datasets.ImageFolder", None)
    assert data.checksum(f"folder:{folder}") == before


def remove(path):
    for file in path.rglob("*.png"):
        file.unlink()
    for folder in (*path.iterdir(), path):
        folder.rmdir()


def error_of(folder):
    with pytest.raises(ValueError) as error:
        data.load(f"folder:{folder}")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split(split, tree):
    folder, _ = tree
    remove(folder / split)
    accepted = "accepted: a folder with images in train/<class>/ and test/<class>/"
    assert error_of(folder) == f"name: {folder} has no folder {split!r}; {accepted}"


def test_missing_folder(tmp_path):
    assert error_of(tmp_path / "nowhere").startswith(f"name: {tmp_path / 'nowhere'} has no folder 'train'; accepted")


def test_no_class_folders(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    message = error_of(tmp_path)
    assert message.startswith(
        f"name: {tmp_path / 'train'}: Couldn't find any class folder in {tmp_path / 'train'}; acc"
    )
    assert message.endswith("train/<class>/ and test/<class>/, at least one image in each")


def test_empty_class_folder(tree):
    folder, _ = tree
    (folder / "train/emu").mkdir()
    assert error_of(folder).startswith(f"name: {folder / 'train'}: Found no valid file for the classes emu.")


def test_different_classes(tree):
    folder, _ = tree
    (folder / "test/dog").rename(folder / "test/emu")
    assert error_of(folder) == (
        f"name: {folder} has the class folder 'dog' in only one of train and test; "
        "accepted: the same class folders in both (2 differ)"
    )


@pytest.mark.parametrize("file", ["train/dog/b.png", "test/dog/y.png"])
def test_different_sizes(file, tree):
    folder, _ = tree
    Image.new("RGB", (7, 4)).save(folder / file)
    assert error_of(folder) == (
        f"name: {folder / file} is 7 x 4 pixels but {folder / 'train/cat/a.png'} is 5 x 4; "
        "accepted: images of one size; resize them first"
    )


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_broken_image(keep, tree):
    folder, _ = tree
    file = folder / "train/dog/a.png"
    file.write_bytes(file.read_bytes()[:keep])
    message = error_of(folder)
    assert message.startswith(f"name: cannot read the image {file} (")
    assert message.endswith("); replace or remove it")


def test_deep_pixels(tree):
    folder, _ = tree
    Image.fromarray(np.full((4, 5), 1000, dtype=np.uint16)).save(folder / "train/dog/a.png")
    assert error_of(folder) == (
        f"name: {folder / 'train/dog/a.png'} has more than eight bits per channel (mode I;16); convert it to eight bits"
    )
