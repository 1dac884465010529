"""The architectures: shapes, parameter counts by hand, seeds, and every error by its message."""

import pytest
import torch
from torch import nn

from infocap.networks import NETWORKS, build, seeded


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def lenet_count(c1, c2, h1, h2, channels=1, outputs=10, side=5):
    convolutions = c1 * (25 * channels + 1) + c2 * (25 * c1 + 1)
    return convolutions + h1 * (c2 * side**2 + 1) + h2 * (h1 + 1) + outputs * (h2 + 1)


def resnet_count(blocks, outputs=10, channels=3):
    total, width = 16 * 9 * channels + 2 * 16, 16
    for stage, out in enumerate([16, 32, 64]):
        for block in range(blocks):
            first = width if stage > 0 and block == 0 else out
            total += 9 * out * first + 9 * out * out + 4 * out  # two convolutions, two batch-norms, a free shortcut
        width = out
    return total + 65 * outputs


CNN_CONVOLUTIONS = 32 * 17 + 32 * (16 * 32 + 1) + 64 * (9 * 32 + 1) + 256 * (9 * 64 + 1)

CASES = [
    ("mlp", {}, (1, 28, 28), 785 * 256 + 257 * 256 + 257 * 10 + 2 * 512),
    ("mlp", {"batch_norm": False, "dropout": 0.5}, (784,), 785 * 256 + 257 * 256 + 257 * 10),
    ("mlp", {"in_features": 12, "widths": (7, 5, 3), "batch_norm": False}, (3, 2, 2), 13 * 7 + 8 * 5 + 6 * 3 + 4 * 10),
    ("mlp", {"in_features": 12, "widths": ()}, (3, 2, 2), 130),
    ("cnn", {}, (1, 28, 28), CNN_CONVOLUTIONS + 2 * 384 + 257 * 128 + 129 * 10),
    ("cnn", {"batch_norm": False}, (1, 28, 28), CNN_CONVOLUTIONS + 257 * 128 + 129 * 10),
    (
        "cnn",
        {"batch_norm": False, "width_factor": 4},
        (1, 28, 28),
        128 * 17 + 128 * (16 * 128 + 1) + 256 * (9 * 128 + 1) + 1024 * (9 * 256 + 1) + 1025 * 512 + 513 * 10,
    ),
    (
        "cnn",
        {"channels": 3, "image_size": 32},
        (3, 32, 32),
        CNN_CONVOLUTIONS + 2 * 32 * 16 + 768 + 257 * 128 + 1290,
    ),
    ("lenet", {}, (1, 28, 28), lenet_count(6, 16, 120, 84)),  # 61,706: LeNet-5 with full connections
    ("lenet", {"width_factor": 2}, (1, 28, 28), lenet_count(12, 32, 240, 168)),
    ("lenet", {"width_factor": 0.5}, (1, 28, 28), lenet_count(3, 8, 60, 42)),
    ("lenet", {"width_factor": 0.01}, (1, 28, 28), lenet_count(1, 1, 1, 1)),
    ("allconv", {}, (1, 28, 28), 9 * 16 * (1 + 16 + 32 + 64 + 128) + 2 * 160 + 650),
    ("allconv", {"width": 2, "channels": 3}, (3, 32, 32), 9 * 2 * (3 + 2 + 4 + 8 + 16) + 2 * 20 + 90),
    ("small_cnn", {}, (1, 28, 28), 8 * 26 + 16 * 201 + 64 * (16 * 49 + 1) + 65 * 10),
    ("small_cnn", {"width": 4, "channels": 3, "image_size": 30}, (3, 30, 30), 4 * 76 + 8 * 101 + 64 * 513 + 650),
    ("lenet", {"channels": 3, "image_size": 32}, (3, 32, 32), lenet_count(6, 16, 120, 84, channels=3, side=6)),
    ("resnet20", {}, (3, 32, 32), resnet_count(3)),
    ("resnet56", {}, (3, 32, 32), resnet_count(9)),
    ("resnet20", {"channels": 1}, (1, 32, 32), resnet_count(3, channels=1)),
    ("resnet18", {"small_images": True}, (3, 32, 32), 11_689_512 - 990 * 513 - 64 * 3 * (49 - 9)),
    ("resnet18", {"channels": 1}, (1, 64, 64), 11_689_512 - 990 * 513 - 64 * 2 * 49),
    ("resnet34", {}, (3, 64, 64), 21_797_672 - 990 * 513),
    ("resnet50", {}, (3, 64, 64), 25_557_032 - 990 * 2049),
]


@pytest.mark.parametrize("name, options, shape, parameters", CASES)
def test_shapes_and_parameter_counts(name, options, shape, parameters):
    net = build(name, 10, seed=0, **options)
    assert count(net) == parameters
    with torch.no_grad():
        assert net.eval()(torch.zeros(2, *shape)).shape == (2, 10)


def test_published_sizes():
    assert round(count(build("resnet20", 10)) / 1e6, 2) == 0.27
    assert round(count(build("resnet56", 10)) / 1e6, 2) == 0.85
    assert count(build("lenet", 10)) == 61_706
    depth = {name: sum(isinstance(m, nn.Conv2d | nn.Linear) for m in build(name, 10).modules()) for name in NETWORKS}
    assert depth["resnet20"] == 20 and depth["resnet56"] == 56  # shortcuts hold no weights
    assert depth["cnn"] == 6


def test_the_shortcut_subsamples_and_pads_with_zeros():
    block = build("resnet20", 10, seed=0)[6].eval()  # the first of the second stage: 16 to 32 channels, stride 2
    nn.init.zeros_(block.bn2.weight)
    inputs = torch.rand(2, 16, 8, 8)
    expected = torch.cat([inputs[:, :, ::2, ::2], torch.zeros(2, 16, 4, 4)], dim=1)
    with torch.no_grad():
        assert torch.equal(block(inputs), expected)


def test_hidden_layers_come_in_the_stated_order():
    kinds = [type(layer) for layer in build("mlp", 10, widths=(8,), dropout=0.5)]
    assert kinds == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
    assert build("mlp", 10, widths=(8,), dropout=0.25)[4].p == 0.25


@pytest.mark.parametrize("name", ["mlp", "cnn", "lenet", "small_cnn", "allconv", "resnet20", "resnet18"])
def test_seeds_decide_the_initialization_and_leave_the_global_generator_alone(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(name, 10, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)

    torch.manual_seed(1)  # without a seed, torch's global generator decides, as in torch.nn
    assert all(torch.equal(first[key], value) for key, value in build(name, 10).state_dict().items())


def test_seeded_restores_the_generator_after_an_error():
    before = torch.get_rng_state()

    def broken():
        torch.rand(3)
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        seeded(broken, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "name, outputs, options, error, message",
    [
        ("lennet", 10, {}, ValueError, r"name: no network 'lennet'; accepted: mlp, cnn, .*; did you mean 'lenet'\?"),
        ("transformer", 10, {}, ValueError, r"name: no network 'transformer'; accepted: .*resnet50$"),
        ("mlp", 0, {}, ValueError, r"num_outputs: got 0; accepted: 1 or more"),
        ("mlp", 10, {"width": 3}, TypeError, r"width: not an option of 'mlp'; accepted: in_features, widths, "),
        ("resnet50", 10, {"widths": (3,)}, TypeError, r"accepted: channels, small_images$"),
        ("cnn", 10, {"image_size": 27}, ValueError, r"image_size: got 27; accepted: 28 or more"),
        ("lenet", 10, {"image_size": 11}, ValueError, r"image_size: got 11; accepted: 12 or more"),
    ],
)
def test_errors(name, outputs, options, error, message):
    with pytest.raises(error, match=message) as caught:
        build(name, outputs, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, size", [("cnn", 28), ("lenet", 12)])
def test_the_smallest_image_works(name, size):
    assert build(name, 3, image_size=size).eval()(torch.zeros(1, 1, size, size)).shape == (1, 3)
