"""All bounds on the same predictions against the gap that they must not fall below, and runs that are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from infocap import bounds
from infocap.bounds import (
    BOUNDS,
    SupersampleRuns,
    all_bounds,
    complementary_selectors,
    fcmi_bound,
    generalization_gap,
    row_information,
)

LN2 = math.log(2)


def memorizer(k1=2, k2=6, n=5):
    """Right on what it was trained on, wrong on everything else."""
    generator = torch.Generator().manual_seed(0)
    selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(k1)])
    labels = torch.zeros(k1, n, 2, dtype=torch.long)
    return SupersampleRuns(selectors, torch.stack([selectors, 1 - selectors], -1), labels, 2)


def by_name(runs):
    table = all_bounds(runs)
    return dict(zip(table["name"], map(torch.tensor, table["values"]), strict=True))


@given(some.integers(0, 10**6), some.sampled_from([2, 3]), some.floats(0, 1), some.integers(1, 8), some.integers(1, 5))
def test_no_bound_falls_below_the_gap_for_any_supersample(random_runs, seed, classes, fit, half, n):
    runs = random_runs(seed, classes=classes, fit=fit, k2=2 * half, n=n)
    gap, test = generalization_gap(runs), runs.test_error
    for row in all_bounds(runs).itertuples():
        slack = torch.tensor(row.values) - (gap.abs() if row.bounds == "gap" else test)
        assert (slack[~slack.isnan()] >= -1e-12).all(), row.name


def test_bounds_hold_for_thousands_of_exact_laws_of_errors():
    """20,000 random laws of (e0, e1) given a fair J, in sixteenths, so that k2 = 32 draws hold each exactly."""
    generator = torch.Generator().manual_seed(0)
    k1 = 20_000
    cuts = torch.randint(17, (k1, 2, 3), generator=generator).sort(-1).values  # of 16 draws for either J
    edges = torch.cat([torch.zeros(k1, 2, 1), cuts, torch.full((k1, 2, 1), 16)], -1).long()
    place = torch.arange(16)
    kind = (place >= edges[..., 1:4, None]).sum(-2)  # [k1, 2, 16], which of the four pairs of errors
    errors = torch.stack([kind // 2, kind % 2], -1).flatten(1, 2)[:, :, None]  # [k1, 32, 1, 2]
    selectors = torch.arange(2).repeat_interleave(16).expand(k1, 32)[:, :, None]
    runs = SupersampleRuns(selectors, errors, torch.zeros(k1, 1, 2, dtype=torch.long), 2)
    gap, test = generalization_gap(runs), runs.test_error
    for row in all_bounds(runs).itertuples():
        slack = torch.tensor(row.values) - (gap.abs() if row.bounds == "gap" else test)
        assert (slack[~slack.isnan()] >= -1e-12).all(), row.name
    information = {name: row_information(runs, name) for name in bounds.VARIABLES}
    assert (information["errors"] >= information["difference"] - 1e-12).all()
    assert (information["errors"] >= information["error0"] - 1e-12).all()


def test_without_complements_a_bound_can_fail():
    """Column 1 always wrong, column 0 always right, and column 0 is trained on: a gap without information."""
    selectors = torch.zeros(1, 4, 1, dtype=torch.long)
    runs = SupersampleRuns(selectors, torch.tensor([0, 1]).expand(1, 4, 1, 2), torch.zeros(1, 1, 2).long(), 2)
    assert float(generalization_gap(runs)) == 1 and float(fcmi_bound(runs)) == 0


def test_a_memorizer_reaches_the_largest_value_and_interpolation_is_exact():
    runs = memorizer()
    bound = by_name(runs)
    assert generalization_gap(runs).tolist() == [1, 1]
    torch.testing.assert_close(fcmi_bound(runs), torch.full((2,), math.sqrt(2 * LN2), dtype=torch.float64))
    torch.testing.assert_close(bound["interpolation"], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(bound["binary KL"], torch.ones(2, dtype=torch.float64))


def test_a_constant_learner_tells_nothing(random_runs):
    runs = random_runs(3)
    constant = SupersampleRuns(runs.selectors, torch.zeros_like(runs.predictions), torch.zeros_like(runs.labels), 2)
    for name, value in by_name(constant).items():
        wanted = math.sqrt(2 * LN2) if name == "CMI, at most" else 0.0
        torch.testing.assert_close(value, torch.full((3,), wanted, dtype=torch.float64), atol=1e-12, rtol=0)


def test_with_three_classes_the_order_is_predictions_errors_difference(random_runs):
    runs = random_runs(5, classes=3, k2=40, n=50)
    bound = by_name(runs)
    assert (bound["f-CMI"] > bound["e-CMI"] + 1e-6).all()
    assert (bound["e-CMI"] > bound["ld-CMI"] + 1e-6).all()


def test_when_networks_interpolate_the_order_is_that_of_the_chapter(random_runs):
    """Nine tests of ten are right, and everything that was trained on."""
    runs = random_runs(6, k2=40, n=50, fit=1.0)
    right = torch.rand(runs.predictions.shape, generator=torch.Generator().manual_seed(6)) < 0.8
    predictions = torch.where(right, runs.labels[:, None], runs.predictions)
    runs = SupersampleRuns(runs.selectors, predictions, runs.labels, 2)
    bound = by_name(runs)
    order = ["interpolation", "fast rate", "f-information", "KL and variation", "f-CMI", "CMI, at most"]
    assert (runs.train_error == 0).all()
    assert (generalization_gap(runs) <= bound[order[0]] + 1e-12).all()
    for lower, upper in zip(order, order[1:], strict=False):
        assert (bound[lower] <= bound[upper] + 1e-12).all(), (lower, upper)
    assert (bound["f-CMI"] <= (2 * row_information(runs).mean(1)).sqrt()).all()  # the root belongs inside


@given(some.integers(0, 10**6))
def test_nothing_depends_on_the_order_of_rows_draws_or_classes(random_runs, seed):
    runs = random_runs(seed, classes=3, complementary=False)
    generator = torch.Generator().manual_seed(seed)
    rows, draws, names = (torch.randperm(size, generator=generator) for size in (4, 8, 3))
    moved = SupersampleRuns(
        runs.selectors[:, draws][:, :, rows],
        names[runs.predictions[:, draws][:, :, rows]],
        names[runs.labels[:, rows]],
        3,
    )
    for name, value in by_name(runs).items():
        torch.testing.assert_close(by_name(moved)[name], value, atol=1e-12, rtol=0, equal_nan=True)


def test_swapping_the_columns_changes_nothing(random_runs):
    runs = random_runs(7, classes=3)
    swapped = SupersampleRuns(1 - runs.selectors, runs.predictions.flip(-1), runs.labels.flip(-1), 3)
    torch.testing.assert_close(generalization_gap(swapped), generalization_gap(runs))
    for name, value in by_name(runs).items():
        torch.testing.assert_close(by_name(swapped)[name], value, atol=1e-12, rtol=0, equal_nan=True)


def test_every_bound_is_in_the_table_with_its_kind(random_runs):
    table = all_bounds(random_runs(9))
    assert list(table.columns) == ["name", "bounds", "certificate", "source", "values"]
    assert len(table) == len(BOUNDS) == len(set(table["name"])) >= 15
    assert set(table["bounds"]) == {"gap", "test error"}
    assert set(table.loc[~table["certificate"], "name"]) == {"f-information", "Hellinger", "Jensen-Shannon"}
    assert table["values"].map(lambda v: v.shape == (3,)).all()


def good():
    return {"selectors": torch.tensor([[[0], [1]]]), "predictions": torch.zeros(1, 2, 1, 2).long(),
            "labels": torch.zeros(1, 1, 2).long(), "num_classes": 2}  # fmt: skip


BAD_RUNS = [
    ({"selectors": torch.tensor([[[0], [2]]])}, ValueError, r"selectors must lie in \[0, 1\], got values from 0 to 2"),
    ({"selectors": torch.tensor([[[0.0], [1.0]]])}, TypeError, "selectors must be integers"),
    ({"selectors": torch.tensor([[[0]]])}, ValueError, r"with k2 >= 2, got shape \(1, 1, 1\)"),
    ({"predictions": torch.full((1, 2, 1, 2), 2)}, ValueError, r"predictions must lie in \[0, 1\]"),
    ({"predictions": torch.zeros(1, 2, 1).long()}, ValueError, r"predictions must be \[1, 2, 1, 2\]"),
    ({"labels": torch.zeros(1, 2, 2).long()}, ValueError, r"labels must be \[1, 1, 2\]"),
    ({"labels": torch.full((1, 1, 2), -1)}, ValueError, r"labels must lie in \[0, 1\], got values from -1"),
    ({"num_classes": 1}, ValueError, "num_classes must be at least 2, got 1"),
    ({"labels": torch.zeros(1, 0, 2).long()}, ValueError, "labels must not be empty"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_RUNS)
def test_bad_runs(change, error, message):
    with pytest.raises(error, match=message):
        SupersampleRuns(**good() | change)


BAD_CALLS = [
    (lambda: complementary_selectors(3, 2, torch.Generator()), "num_draws must be even, got 3"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
