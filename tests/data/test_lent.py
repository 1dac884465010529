"""A data set of one's own under a name: found inside the context only, never stored, and refused if it is none."""

import subprocess
import sys

import pytest
import torch

from infocap import data
from infocap.data import Dataset


def dataset(**change):
    generator = torch.Generator().manual_seed(0)
    parts = {
        "train_inputs": torch.rand(6, 3, 5, 4, generator=generator),
        "train_labels": torch.tensor([0, 1, 2, 0, 1, 2]),
        "test_inputs": torch.rand(2, 3, 5, 4, generator=generator),
        "test_labels": torch.tensor([3, 0]),
    }
    return Dataset(**parts | change)


def test_it_is_found_inside_and_not_outside():
    mine = dataset()
    with data.lent("my images", mine):
        assert data.load("my images") is mine
        assert data.class_names("my images") == ("0", "1", "2", "3")
        with pytest.raises(ValueError, match="did you mean 'my images'. accepted: mnist, .*, my images$"):
            data.load("my image")
    for function in (data.load, data.class_names, data.checksum):
        with pytest.raises(ValueError, match="no data set 'my images'; .*accepted: mnist, .*, folder:<path>$"):
            function("my images")


def test_its_results_are_never_stored():
    with (
        data.lent("my images", dataset()),
        pytest.raises(ValueError, match="'my images' is lent, and its results are never stored"),
    ):
        data.checksum("my images")


def test_contexts_may_be_nested_and_end_with_an_error():
    outer, inner = dataset(), dataset()
    with data.lent("mine", outer):
        with pytest.raises(RuntimeError, match="stop"), data.lent("mine", inner), data.lent("other", inner):
            assert data.load("mine") is data.load("other") is inner
            raise RuntimeError("stop")
        assert data.load("mine") is outer
        with pytest.raises(ValueError, match="no data set 'other'"):
            data.load("other")
    with pytest.raises(ValueError, match="no data set 'mine'"):
        data.load("mine")


def test_another_process_does_not_know_it():
    with data.lent("mine", dataset()):
        call = [sys.executable, "-c", "from infocap import data; data.load('mine')"]
        assert "no data set 'mine'" in subprocess.run(call, capture_output=True, text=True).stderr


IMAGES, LABELS = torch.rand(6, 3, 5, 4), torch.arange(6)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            {"train_inputs": IMAGES.double()},
            TypeError,
            "train_inputs: got torch.float64; accepted: a tensor of torch.fl",
        ),
        ({"test_inputs": [[0.0]]}, TypeError, "test_inputs: got list; accepted: a tensor of torch.float32"),
        ({"train_labels": LABELS.int()}, TypeError, "train_labels: got torch.int32; accepted: a tensor of torch.int64"),
        ({"train_inputs": IMAGES[:, 0]}, ValueError, r"got shape \[6, 5, 4\]; accepted: \[N, channels, H, W\], not em"),
        ({"test_inputs": IMAGES[:0]}, ValueError, r"test_inputs: got shape \[0, 3, 5, 4\]; .*, not empty"),
        ({"test_labels": LABELS[:, None]}, ValueError, r"test_labels: got shape \[6, 1\]; accepted: \[N\], not empty"),
        ({"train_labels": LABELS[:5]}, ValueError, "train_labels: got 5 for 6 images; accepted: one for each"),
        ({"train_inputs": 255 * IMAGES}, ValueError, "train_inputs: got values from .* to 25.*; accepted: 0 to 1"),
        (
            {"train_inputs": IMAGES * torch.nan},
            ValueError,
            "train_inputs: got values from nan to nan; accepted: 0 to 1",
        ),
        ({"train_labels": LABELS - 1}, ValueError, "train_labels: got -1; accepted: 0 or more"),
        (
            {"test_inputs": IMAGES[:2, :1]},
            ValueError,
            r"got images \[1, 5, 4\]; accepted: \[3, 5, 4\], as train_inputs",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(change, error, message):
    with pytest.raises(error, match=message) as caught, data.lent("mine", dataset(**change)):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "folder:<path>", "folder:mine", ""])
def test_names_of_the_book_are_taken(name):
    with (
        pytest.raises(ValueError, match="name: got .*, which is taken; accepted: a name of your own"),
        data.lent(name, dataset()),
    ):
        pass


def test_wrong_types():
    with pytest.raises(TypeError, match="name: got int; accepted: a string"), data.lent(3, dataset()):
        pass
    with pytest.raises(TypeError, match="dataset: got tuple; accepted: an infocap.data.Dataset"), data.lent("a", ()):
        pass
