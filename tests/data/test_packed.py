"""MNIST and Fashion-MNIST: the published images, whatever happened to the cache."""

import hashlib
import lzma
import os
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.transforms.functional import to_tensor

from infocap import data
from infocap.data import packed

RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
FIRST = {
    "mnist": ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4]),
    "fashion-mnist": ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6]),
}
COUNTS = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
    "fashion-mnist": ([6000] * 10, [1000] * 10),
}


@pytest.fixture
def copy(cache, tmp_path):
    """MNIST in a cache of its own, to be damaged."""
    shutil.copytree(cache / "MNIST", tmp_path / "MNIST")
    return tmp_path


@pytest.mark.parametrize("name", RAW)
def test_load_returns_the_published_arrays(name, cache):
    loaded = data.load(name)
    for inputs, labels, size, first, counts in (
        (loaded.train_inputs, loaded.train_labels, 60_000, FIRST[name][0], COUNTS[name][0]),
        (loaded.test_inputs, loaded.test_labels, 10_000, FIRST[name][1], COUNTS[name][1]),
    ):
        assert inputs.shape == (size, 1, 28, 28) and inputs.dtype == torch.float32 and inputs.is_contiguous()
        assert inputs.min() == 0 and inputs.max() == 1
        assert labels.shape == (size,) and labels.dtype == torch.int64
        assert labels[:5].tolist() == first
        assert labels.bincount().tolist() == counts


@pytest.mark.parametrize("name, reader", [("mnist", datasets.MNIST), ("fashion-mnist", datasets.FashionMNIST)])
def test_images_equal_torchvision_images(name, reader, cache):
    test = reader(cache, train=False)
    inputs = data.load(name).test_inputs
    for index in (0, 1, 9_999):
        assert torch.equal(inputs[index], to_tensor(test[index][0]))


@pytest.mark.parametrize("name", RAW)
def test_unpacked_files_have_the_checksums_of_the_licence_note(name, cache):
    note = (packed.BUNDLED / f"LICENSE-{name}.txt").read_text()
    listed = {file: digest for digest, file in re.findall(r"^([0-9a-f]{64})  (\S+)$", note, re.MULTILINE)}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (cache / RAW[name]).iterdir()}
    assert found == listed == packed.FILES[name]


def test_licences_are_named_beside_the_files():
    mnist, fashion = ((packed.BUNDLED / f"LICENSE-{name}.txt").read_text() for name in RAW)
    assert "Yann LeCun and Corinna Cortes" in mnist and "CC BY-SA 3.0" in mnist
    assert "Zalando SE" in fashion and "Permission is hereby granted, free of charge" in fashion


def test_second_load_hashes_nothing(monkeypatch, cache):
    data.load("mnist")
    monkeypatch.setattr(hashlib, "file_digest", None)
    data.load("mnist")


def test_first_load_of_a_process_hashes_every_file(monkeypatch, cache):
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: hashed.append(given) or digest(*given))
    packed._digest.cache_clear()
    data.load("mnist")
    assert len(hashed) == 4


def test_loads_share_no_memory(cache):
    data.load("mnist").test_inputs.fill_(7)
    assert data.load("mnist").test_inputs.max() == 1


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def flip_unnoticed(file):
    """As damage on disk that happened before this process started: same size, same time."""
    status = file.stat()
    flip(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    packed._digest.cache_clear()


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


@pytest.mark.parametrize(
    "damage, file",
    [(damage, "train-labels-idx1-ubyte") for damage in (truncate, flip, flip_unnoticed, empty, remove)]
    + [(flip, "t10k-images-idx3-ubyte")],
)
def test_damaged_cache_entry_is_replaced(damage, file, copy):
    packed.unpack("mnist", copy / "MNIST/raw")
    damage(copy / "MNIST/raw" / file)
    loaded = data.load("mnist", copy)
    assert loaded.train_labels.bincount().tolist() == COUNTS["mnist"][0]
    assert hashlib.sha256((copy / "MNIST/raw" / file).read_bytes()).hexdigest() == packed.FILES["mnist"][file]


def test_half_written_file_of_a_killed_process_is_ignored(copy):
    (copy / "MNIST/raw/.train-labels-idx1-ubyte.0123").write_bytes(b"half")
    (copy / "MNIST/raw/train-labels-idx1-ubyte").unlink()
    assert data.load("mnist", copy).train_labels.bincount().tolist() == COUNTS["mnist"][0]


def test_interrupted_write_leaves_nothing_behind(monkeypatch, copy):
    target = copy / "MNIST/raw/train-labels-idx1-ubyte"
    target.unlink()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.load("mnist", copy)
    assert sorted(file.name for file in target.parent.iterdir()) == sorted(set(packed.FILES["mnist"]) - {target.name})
    assert len(data.load("mnist", copy).train_labels) == 60_000


def test_replacing_may_fail_if_another_process_was_faster(monkeypatch, copy):
    target = copy / "MNIST/raw/train-labels-idx1-ubyte"
    content = target.read_bytes()
    target.unlink()

    def lose(*_):
        target.write_bytes(content)
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", lose)
    assert len(data.load("mnist", copy).train_labels) == 60_000


def test_two_processes_unpack_at_once(tmp_path):
    # Running the module by its path spares both processes the import of torch.
    code = (
        "import runpy, sys; from pathlib import Path; unpack = runpy.run_path(sys.argv[1])['unpack']; "
        "print('ready', flush=True); sys.stdin.readline(); unpack('mnist', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, packed.__file__, tmp_path]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == b"ready\n"
    for process in both:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()}
    assert found == packed.FILES["mnist"]


def test_files_that_torchvision_has_put_there_are_used(copy):
    before = {file: file.stat().st_ino for file in (copy / "MNIST/raw").iterdir()}
    data.load("mnist", copy)
    assert {file: file.stat().st_ino for file in (copy / "MNIST/raw").iterdir()} == before


def test_old_torchvision_format_is_refused(copy):
    (copy / "MNIST/processed").mkdir()
    with pytest.raises(ValueError, match=r"^root: \S+processed holds data in a format that is not verified; remove"):
        data.load("mnist", copy)


def test_random_state_is_untouched(copy):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    (copy / "MNIST/raw/train-labels-idx1-ubyte").unlink()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    data.load("mnist", copy)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def zeros(file):
    file.write_bytes(lzma.compress(bytes(10**8), preset=0))


@pytest.mark.parametrize(
    "damage, reason",
    [
        (truncate, "Compressed file ended before the end-of-stream marker was reached"),
        (empty, "Compressed file ended before the end-of-stream marker was reached"),
        (lambda file: file.write_bytes(b"text"), "Input format not supported by decoder"),
        (
            lambda file: file.write_bytes(lzma.compress(b"text")),
            "its content does not have the SHA-256 65a50cbbf4e9...",
        ),
        (zeros, "its content does not have the SHA-256 65a50cbbf4e9..."),
        (remove, "[Errno 2]"),
    ],
)
def test_damaged_package_is_an_error(damage, reason, monkeypatch, copy, tmp_path):
    (copy / "MNIST/raw/train-labels-idx1-ubyte").unlink()
    shutil.copytree(packed.BUNDLED, tmp_path / "bundled", ignore=shutil.ignore_patterns("*images*"))
    monkeypatch.setattr(packed, "BUNDLED", tmp_path / "bundled")
    file = tmp_path / "bundled/mnist-train-labels-idx1-ubyte.xz"
    damage(file)
    with pytest.raises(RuntimeError) as error:
        data.load("mnist", copy)
    assert str(error.value).startswith(f"the packaged file {file} is damaged ({reason}")
    assert str(error.value).endswith("; install infocap again")
    assert not (copy / "MNIST/raw/train-labels-idx1-ubyte").exists()


def test_root_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^root: cannot keep mnist in \S+ \(.*\); pass a root that you may write to, or"):
        data.load("mnist", tmp_path / "file")
