"""The architectures: shapes, parameter counts by hand, seeds, how they are found, and every error by its message."""

import ast
import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from infocap import networks
from infocap.networks import NETWORKS, build, build_for, seeded
from infocap.networks.pairs import WithAuxiliary, WithFeatures


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
        (
            "lennet",
            10,
            {},
            ValueError,
            r"name: no network 'lennet'; accepted: allconv, cnn, .*; did you mean 'lenet'\?",
        ),
        ("transformer", 10, {}, ValueError, r"name: no network 'transformer'; accepted: .*small_cnn$"),
        ("mlp", 0, {}, ValueError, r"num_outputs: got 0; accepted: 1 or more"),
        ("mlp", 10, {"width": 3}, TypeError, r"width: not an option of 'mlp'; accepted: in_features, widths, "),
        ("resnet50", 10, {"widths": (3,)}, TypeError, r"accepted: channels, small_images$"),
        ("resnet50", 10, {"depth": 18}, TypeError, r"depth: not an option of 'resnet50'"),
        ("cnn", 10, {"image_size": 27}, ValueError, r"image_size must be at least 28, got 27"),
        ("lenet", 10, {"image_size": 11}, ValueError, r"image_size must be at least 12, got 11"),
    ],
)
def test_errors(name, outputs, options, error, message):
    with pytest.raises(error, match=message) as caught:
        build(name, outputs, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, size", [("cnn", 28), ("lenet", 12)])
def test_the_smallest_image_works(name, size):
    assert build(name, 3, image_size=size).eval()(torch.zeros(1, 1, size, size)).shape == (1, 3)


# by the shape of the images


SQUARE, WIDE = (3, 32, 32), (1, 30, 28)
WANTED = {  # the options that the shape of the images decides
    "mlp": {"in_features": 3 * 32 * 32},
    "cnn": {"channels": 3, "image_size": 32},
    "lenet": {"channels": 3, "image_size": 32},
    "small_cnn": {"channels": 3, "image_size": 32},
    "allconv": {"channels": 3},
} | {f"resnet{depth}": {"channels": 3} for depth in (20, 56, 18, 34, 50)}


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("name", WANTED)
def test_an_architecture_receives_of_the_shape_what_it_asks_for(name):
    net = build_for(name, SQUARE, 7, seed=3)
    assert same(net, build(name, 7, seed=3, **WANTED[name]))
    with torch.no_grad():
        assert net.eval()(torch.zeros(2, *SQUARE)).shape == (2, 7)


def test_every_architecture_is_tried():
    assert set(NETWORKS) == set(WANTED)


def test_what_is_offered_reaches_those_that_have_it_and_comes_before_the_shape():
    offered = {"widths": (5,), "dropout": 0.5, "width_factor": 2, "small_images": True}
    assert same(build_for("lenet", (1, 28, 28), 3, seed=0, **offered), build("lenet", 3, seed=0, width_factor=2))
    wanted = build("mlp", 3, seed=0, in_features=840, widths=(5,), dropout=0.5)
    assert same(build_for("mlp", WIDE, 3, seed=0, **offered), wanted)
    assert build_for("resnet18", SQUARE, 3, **offered).conv1.kernel_size == (3, 3)
    assert build_for("mlp", WIDE, 3, in_features=4)[1].in_features == 4
    assert build_for("allconv", torch.Size(WIDE), 3).eval()(torch.zeros(2, *WIDE)).shape == (2, 3)


def linear(image, num_outputs):
    channels, height, width = image
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_outputs))


def test_a_function_of_ones_own_is_found_while_it_is_lent_and_not_after():
    with NETWORKS.lent("mine", linear):
        net = build_for("mine", WIDE, 3, seed=0, dropout=0.5)
        assert same(net, seeded(lambda: linear(WIDE, 3), 0)) and same(net, build("mine", 3, seed=0, image=WIDE))
    with NETWORKS.lent("mine", lambda image, classes: linear(image, classes)):  # whatever it calls the second
        assert same(build_for("mine", WIDE, 3, seed=0), net)
    for again in (lambda: build_for("mine", WIDE, 3), lambda: build("mine", 3)):
        with pytest.raises(ValueError, match="name: no network 'mine'"):
            again()
    with NETWORKS.lent("mlp", lambda image, num_outputs, **rest: nn.Identity()):
        assert isinstance(build_for("mlp", WIDE, 3, seed=0, widths=(3,)), nn.Identity)
    assert isinstance(build_for("mlp", WIDE, 3), nn.Sequential)


def test_errors_about_the_shape_and_about_functions_of_ones_own():
    for shape in ((1, 28), (1, 28, 28.0), (0, 28, 28)):
        with pytest.raises(ValueError, match=r"image: got \(.*; accepted: \(channels, height, width\)"):
            build_for("mlp", shape, 3)
    with pytest.raises(ValueError, match="image: got 30 x 28 pixels; accepted: squares, for 'lenet' has an image_size"):
        build_for("lenet", WIDE, 3)
    with pytest.raises(ValueError, match="num_outputs: got 0"):
        build_for("mlp", WIDE, 0)
    with pytest.raises(ValueError, match="did you mean 'lenet'"):
        build_for("lennet", WIDE, 3)
    with (
        NETWORKS.lent("mine", lambda channels, pixels, num_outputs: nn.Identity()),
        pytest.raises(TypeError, match="pixels: 'mine' asks for it; got channels, num_outputs; accepted: it as well"),
    ):
        build_for("mine", WIDE, 3)
    with (
        NETWORKS.lent("mine", nn.Linear(3, 3)),
        pytest.raises(TypeError, match="name: 'mine' is a network; accepted: a function that builds one, anew"),
    ):
        build_for("mine", WIDE, 3)
    with (
        NETWORKS.lent("mine", lambda image, num_outputs: None),
        pytest.raises(TypeError, match="name: 'mine' returns NoneType; accepted: a torch.nn.Module"),
    ):
        build_for("mine", WIDE, 3)


def test_an_own_function_may_name_its_two_arguments_as_it_likes():
    def mine(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))

    with NETWORKS.lent("mine", mine):
        assert build_for("mine", WIDE, 3, widths=(8,))[1].weight.shape == (3, math.prod(WIDE))


# each in a file of its own


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_of_the_package_knows_another_architecture():
    files = sorted(Path(networks.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        own = {name for name in imported(file) if name.startswith("infocap.networks")}
        assert own <= {"infocap.networks.NETWORKS"}, file


FRESH = """
import sys
from pathlib import Path
from infocap import networks

assert not any(name.startswith("infocap.networks.") for name in sys.modules)
networks.__path__.append(sys.argv[1])  # as if the file lay among the others
print(networks.build("tiny", 2), networks.NETWORKS.module("tiny"), "mlp" in networks.NETWORKS)
"""


def test_a_new_file_is_found_in_a_fresh_process_without_a_change_elsewhere(tmp_path):
    (tmp_path / "tiny.py").write_text(
        "from torch import nn\n\nfrom infocap.networks import NETWORKS\n\n\n"
        '@NETWORKS.register("tiny")\ndef tiny(num_outputs):\n    return nn.Linear(1, num_outputs, bias=False)\n'
    )
    call = [sys.executable, "-c", FRESH, str(tmp_path)]
    output = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    assert output == "Linear(in_features=1, out_features=2, bias=False) infocap.networks.tiny True"


def test_on_its_way_to_another_process_the_registry_is_a_reference():
    function, arguments = NETWORKS.__reduce__()
    assert function(*arguments) is NETWORKS and copy.deepcopy(NETWORKS) is NETWORKS


# pairs


def test_pairs_share_their_input_and_nothing_else():
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    one, two = (build("mlp", 3, seed=seed, in_features=16, widths=(8,), batch_norm=False) for seed in (0, 1))
    logits, auxiliary = WithAuxiliary(one, two)(inputs)
    assert torch.equal(logits, one(inputs)) and torch.equal(auxiliary, two(inputs))
    pair = WithFeatures(one, two)
    features, biasless, auxiliary = pair(inputs)
    assert torch.equal(features, one[:3](inputs)) and torch.equal(biasless, features @ one[3].weight.T)
    assert torch.equal(auxiliary, two(inputs))
    assert [name for name, _ in pair.named_parameters() if name.startswith("classifier.3")] == ["classifier.3.weight"]
