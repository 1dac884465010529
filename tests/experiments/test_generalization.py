"""Part 3: the cells of the training table, and the toys against numbers that were found in another way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from infocap.bounds import SupersampleRuns, fcmi_bound, generalization_gap
from infocap.experiments.catalogue import CATALOGUE, Book
from infocap.experiments.generalization import results, toys, training
from infocap.study.profiles import ProfileError
from infocap.study.sweep import SweepError

CELLS = {cell.panel: cell for cell in CATALOGUE.load_profile("smoke").cells("generalization/training")}


@pytest.fixture(scope="module", params=["paper", "three", "noise", "sgld", "randomized"])
def measured(request):
    cell = CELLS[request.param]
    return cell, training.measure(cell)


def test_a_cell_keeps_all_that_the_bounds_need(measured):
    cell, result = measured
    looks = len(result["at"])
    assert result["at"][-1] == cell.epochs
    assert result["predictions"].shape == (looks, cell.draws, cell.n, 2)
    half = cell.draws // 2
    assert torch.equal(result["selectors"][:half] + result["selectors"][half:], torch.ones(half, cell.n).byte())
    runs = SupersampleRuns(
        result["selectors"][None], result["predictions"][-1][None], result["labels"][None], len(cell.classes)
    )
    assert float(runs.train_error) == pytest.approx(result["train_error"], abs=1e-12)
    assert float(runs.test_error) == pytest.approx(result["test_error"], abs=1e-12)
    assert float(fcmi_bound(runs)) >= float(generalization_gap(runs)) - 1e-12


def test_a_cell_measures_the_same_twice_and_its_seed_draws_the_supersample():
    cell = replace(CELLS["easy"], n=8, epochs=3)
    inputs, labels = training.supersample(cell)
    assert inputs.shape == (16, 1, 14, 14) and set(labels.tolist()) == {0, 1}
    first, again = training.measure(cell), training.measure(cell)
    assert torch.equal(first["predictions"], again["predictions"])
    assert not torch.equal(training.supersample(replace(cell, seed=cell.seed + 1))[0], inputs)


def test_label_noise_flips_about_its_rate_and_nothing_else():
    clean = replace(CELLS["noise"], n=500, label_noise=0.0)
    (images, labels), (same, noisy) = (training.supersample(replace(clean, label_noise=rate)) for rate in (0.0, 0.2))
    assert torch.equal(images, same)
    assert float((labels != noisy).double().mean()) == pytest.approx(0.2, abs=0.05)


def test_langevin_cells_hold_what_their_bound_needs():
    cell = replace(CELLS["sgld"], n=8, epochs=4, batch_size=4)
    result = training.measure(cell)
    steps = 4 * 2
    assert result["learning_rates"].shape == result["inverse_temperatures"].shape == (steps,)
    assert result["gradient_variances"].shape == (2, steps)
    assert bool((result["gradient_variances"] > 0).all())
    assert float(result["learning_rates"][0]) == pytest.approx(cell.learning_rate)
    assert float(result["learning_rates"][-1]) == pytest.approx(cell.learning_rate * 0.9**14)  # step 7 of 8 is 1,400


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="n: got 7000; accepted: up to 6000"):
        training.supersample(replace(CELLS["easy"], n=7000))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return Book("smoke", store=tmp_path_factory.mktemp("store")).table("generalization/training")


@pytest.fixture(scope="module")
def own_images(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("own") / "images", np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "abc":
            (folder / split / name).mkdir(parents=True)
            for number in range(8):
                pixels = generator.integers(256, size=(20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return f"folder:{folder}"


def test_an_own_network_runs_on_the_supersamples_of_a_panel(smoke):
    shapes = []

    def mine(image, num_outputs):
        shapes.append(tuple(image))
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(image), num_outputs))

    table = smoke.also_table(network=mine, panel="easy", jobs=1)
    theirs = smoke.panel("easy")
    assert set(shapes) == {(1, 14, 14)} and set(table.frame["network"]) == {"mine"}
    for place, index in enumerate(theirs.index):
        for name in ("selectors", "labels"):
            assert np.array_equal(table.arrays[place][name], smoke.arrays[index][name])
    gaps = results.by_size(table, "easy")
    assert len(gaps) == len(theirs) and bool((gaps["bound"] >= gaps["gap"] - 1e-12).all())
    assert gaps["gap"].to_numpy() == pytest.approx((table.frame["test_error"] - table.frame["train_error"]).to_numpy())


def test_own_images_may_have_colours_any_side_and_any_classes(smoke, own_images):
    rows = smoke.also(data=own_images, classes=(0, 2), panel="easy", jobs=1)
    assert set(rows["data"]) == {own_images} and rows["test_error"].between(0, 1).all()
    cell = replace(CELLS["easy"], data=own_images, classes=(0, 2), n=8, side=10)
    inputs, labels = training.supersample(cell)
    assert inputs.shape == (16, 3, 10, 10) and labels.bincount().tolist() == [8, 8]


@pytest.mark.parametrize(
    ("panel", "change", "message"),
    [
        ("easy", {}, r"classes: got 7, of which folder:.* has no image; accepted: ids from 0 to 2"),
        ("three", {"classes": (0, 1), "n": 9}, "n: got 9; accepted: up to 8"),
        ("paper", {"classes": (0, 1)}, "image_size must be at least 28, got 20"),
    ],
)
def test_own_images_that_do_not_fit_are_named(smoke, own_images, panel, change, message):
    with pytest.raises(SweepError, match=message):
        smoke.also(data=own_images, panel=panel, jobs=1, **change)


def test_a_cell_counts_the_code_of_its_own_network_only():
    assert CELLS["paper"].code() == ["infocap.networks.cnn"]
    assert CELLS["easy"].code() == ["infocap.networks.mlp"]


def test_an_odd_number_of_draws_is_refused():
    with pytest.raises(ProfileError, match="draws: got 5; accepted: an even number"):
        CATALOGUE.load_profile("smoke", ["generalization.training.easy.draws=5"])


def test_thresholds_agree_with_their_closed_form():
    """With a uniform true threshold the gap is (1 - 1 / (n + 2)) / (n + 1)."""
    result = toys.thresholds(toys.Cell("thresholds", 4, 400))
    gaps = np.array(result["gap"])
    assert gaps.mean() == pytest.approx((1 - 1 / 6) / 5, abs=4 * gaps.std() / 20)
    assert gaps.mean() < np.mean(result["single"]) < np.mean(result["whole"]) < result["vc"]


def test_expected_estimates_for_independent_bits():
    """Values of the plug-in and Miller-Madow estimates for ten draws, found by enumeration in another program."""
    result = toys.bias(toys.Cell("bias", 10))
    assert result["none_information"] == pytest.approx(0.064958, abs=1e-6)
    assert result["miller_madow_unclipped"] == pytest.approx(0.026026, abs=1e-6)
    assert result["chance_unclipped"] == pytest.approx(0, abs=1e-12)


def test_pairs_bound_the_squared_gap_on_average():
    result = toys.pairs(toys.Cell("pairs", 5, 20))
    assert result["squared_gap"] == [0.25] * 20
    assert np.mean(result["pair_bound"]) >= 0.25


def test_the_smallest_orthogonal_vector_is_the_smallest():
    parity = torch.tensor([number.bit_count() % 2 for number in range(16)], dtype=torch.int16)
    differences = torch.randint(16, (50, 3), generator=torch.Generator().manual_seed(0))
    differences[:, 0] = 0
    for row, found in zip(differences.tolist(), toys.smallest_orthogonal(differences, parity).tolist(), strict=True):
        wanted = [v for v in range(1, 16) if all((v & d).bit_count() % 2 == 0 for d in row)]
        assert found == wanted[0]
