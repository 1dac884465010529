"""Part 3: the cells of the training table, and the toys against numbers that were found in another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infocap.bounds import SupersampleRuns, fcmi_bound, generalization_gap
from infocap.experiments.generalization import toys, training
from infocap.experiments.profiles import load_profile
from infocap.study.profiles import ProfileError

SMOKE = load_profile("smoke")
CELLS = {cell.panel: cell for cell in training.cells(SMOKE)}


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


def test_an_odd_number_of_draws_is_refused():
    with pytest.raises(ProfileError, match="draws: got 5; accepted: an even number"):
        load_profile("smoke", ["generalization.training.easy.draws=5"])


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
