"""CIFAR through torchvision, with a tiny imitation of the real archives in place of the network."""

import hashlib
import pickle
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.datasets import utils

from infocap import data

NAMES = {"cifar10": ["airplane", "automobile", "bird"], "cifar100": ["apple", "aquarium_fish", "baby"]}
READERS = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


@pytest.fixture(params=NAMES)
def cifar(request, monkeypatch, tmp_path):
    """An archive of three images per batch in the layout of the real one; torchvision is told its checksums."""
    name, reader = request.param, READERS[request.param]
    files = tmp_path / "original" / reader.base_folder
    files.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(file, content):
        (files / file).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((files / file).read_bytes()).hexdigest()

    def batch():
        pixels = generator.integers(0, 256, (3, 3072), dtype=np.uint8)
        pixels[0, 0] = 255
        return {"data": pixels, "labels" if name == "cifar10" else "fine_labels": [0, 2, 1]}

    for splits in ("train_list", "test_list"):
        monkeypatch.setattr(reader, splits, [[file, write(file, batch())] for file, _ in getattr(reader, splits)])
    meta = reader.meta | {"md5": write(reader.meta["filename"], {reader.meta["key"]: NAMES[name]})}
    monkeypatch.setattr(reader, "meta", meta)
    archive = tmp_path / reader.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(files, reader.base_folder)
    monkeypatch.setattr(reader, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return name, reader, archive


@pytest.mark.parametrize("name", READERS)
def test_the_checksum_is_that_of_torchvisions_files(name):
    files = [*READERS[name].train_list, *READERS[name].test_list]
    text = "\n".join(f"{file} {digest}" for file, digest in files)
    assert data.checksum(name) == hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def downloads(cifar, monkeypatch):
    """A network that serves the archive slowly; the list of what was asked for."""
    asked = []

    def serve(url, filename, chunk_size=0):
        asked.append(url)
        content = cifar[2].read_bytes()
        with open(filename, "wb") as file:
            file.write(content[:99])
            time.sleep(0.2)
            file.write(content[99:])

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", serve)
    return asked


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no\nroute to host")

    monkeypatch.setattr(utils, "_get_redirect_url", refuse)
    monkeypatch.setattr(utils, "_urlretrieve", refuse)


def test_first_use_downloads_and_later_uses_do_not(cifar, downloads, tmp_path):
    name, reader, _ = cifar
    loaded = data.load(name, tmp_path / "cache")
    assert downloads == [reader.url]
    batches = len(reader.train_list)
    assert loaded.train_inputs.shape == (3 * batches, 3, 32, 32) and loaded.test_inputs.shape == (3, 3, 32, 32)
    assert loaded.train_inputs.dtype == torch.float32 and loaded.train_inputs.is_contiguous()
    assert loaded.train_inputs.min() == 0 and loaded.train_inputs.max() == 1
    assert loaded.train_labels.tolist() == [0, 2, 1] * batches and loaded.test_labels.tolist() == [0, 2, 1]
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == torch.int64
    original = pickle.loads((tmp_path / "original" / reader.base_folder / reader.test_list[0][0]).read_bytes())
    expected = torch.from_numpy(original["data"].reshape(3, 3, 32, 32)) / 255
    assert torch.equal(loaded.test_inputs, expected)
    assert data.class_names(name, tmp_path / "cache") == tuple(NAMES[name])
    data.load(name, tmp_path / "cache")
    assert len(downloads) == 1


def test_archive_put_there_by_hand_needs_no_network(cifar, no_network, tmp_path):
    name, reader, archive = cifar
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / reader.filename).write_bytes(archive.read_bytes())
    assert len(data.load(name, tmp_path / "cache").test_labels) == 3


@pytest.mark.parametrize("function", [data.load, data.class_names])
def test_no_network_is_an_error_with_the_remedy(function, cifar, no_network, tmp_path):
    name, reader, _ = cifar
    cache = tmp_path / "cache"
    with pytest.raises(RuntimeError) as error:
        function(name, cache)
    assert str(error.value) == (
        f"name: {name!r} can be neither read nor downloaded (<urlopen error no route to host>); remedy: remove "
        f"{cache / reader.base_folder} if it exists, and put {reader.filename}, from {reader.url}, into {cache}"
    )


def test_wrong_download_is_an_error(cifar, downloads, tmp_path):
    name, _, archive = cifar
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(RuntimeError, match=r"neither read nor downloaded \(File not found or corrupted\.\); remedy"):
        data.load(name, tmp_path / "cache")


def test_damaged_files_are_replaced(cifar, downloads, tmp_path):
    name, reader, _ = cifar
    cache = tmp_path / "cache"
    data.load(name, cache)
    (cache / reader.base_folder / reader.train_list[0][0]).write_bytes(b"half")
    (cache / reader.filename).write_bytes(b"half")
    assert len(data.load(name, cache).test_labels) == 3
    assert len(downloads) == 2


def test_workers_that_need_it_at_once_download_it_once(cifar, downloads, tmp_path):
    name, _, _ = cifar
    with ThreadPoolExecutor(3) as workers:
        loaded = list(workers.map(data.load, [name] * 3, [tmp_path / "cache"] * 3))
    assert [len(each.test_labels) for each in loaded] == [3, 3, 3] and len(downloads) == 1


def test_root_that_cannot_be_written_is_an_error(cifar, downloads, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match="neither read nor downloaded"):
        data.load(cifar[0], tmp_path / "file")
