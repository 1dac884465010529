"""Bounds against enumeration, against plain loops, and against the gap that they must not fall below."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from infocap import bounds
from infocap.bounds import (
    BOUNDS,
    SupersampleRuns,
    all_bounds,
    binary_kl_inverse,
    bootstrap_interval,
    complementary_selectors,
    fast_rate_bound,
    fcmi_bound,
    generalization_gap,
    interpolation_bound,
    linear_bound,
    row_information,
    sgld_bound,
    squared_stability_bound,
    stability_bound,
    vc_bound,
)
from infocap.information import expected_mutual_information, mutual_information

LN2 = math.log(2)


def random_runs(seed, classes=2, k1=3, k2=8, n=4, fit=0.5, complementary=True):
    """Learners that know some of the labels that they were trained on, and guess the others."""
    generator = torch.Generator().manual_seed(seed)
    if complementary:
        selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(k1)])
    else:
        selectors = torch.randint(2, (k1, k2, n), generator=generator)
    labels = torch.randint(classes, (k1, n, 2), generator=generator)
    predictions = torch.randint(classes, (k1, k2, n, 2), generator=generator)
    trained = torch.stack([1 - selectors, selectors], -1) == 1
    known = trained & (torch.rand(predictions.shape, generator=generator) < fit)
    return SupersampleRuns(selectors, torch.where(known, labels[:, None], predictions), labels, classes)


def memorizer(k1=2, k2=6, n=5):
    """Right on what it was trained on, wrong on everything else."""
    generator = torch.Generator().manual_seed(0)
    selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(k1)])
    labels = torch.zeros(k1, n, 2, dtype=torch.long)
    return SupersampleRuns(selectors, torch.stack([selectors, 1 - selectors], -1), labels, 2)


def by_name(runs):
    table = all_bounds(runs)
    return dict(zip(table["name"], map(torch.tensor, table["values"]), strict=True))


def test_information_equals_a_plain_loop():
    runs = random_runs(0, classes=3, complementary=False)
    for variable in bounds.VARIABLES:
        ours = row_information(runs, variable)
        for z, i in product(range(3), range(4)):
            table = {}
            for s in range(8):
                e0, e1 = (int(runs.predictions[z, s, i, c] != runs.labels[z, i, c]) for c in (0, 1))
                seen = {
                    "predictions": tuple(runs.predictions[z, s, i].tolist()), "errors": (e0, e1),
                    "difference": e1 - e0, "error0": e0, "error1": e1,
                }[variable]  # fmt: skip
                table.setdefault(seen, [0, 0])[int(runs.selectors[z, s, i])] += 1
            assert float(ours[z, i]) == pytest.approx(float(mutual_information(torch.tensor(list(table.values())))))


def test_corrections_by_hand():
    runs = random_runs(1, k1=1, n=1, k2=12, complementary=False)
    counts = torch.zeros(4, 2, dtype=torch.long)
    for (first, second), selector in zip(runs.predictions[0, :, 0].tolist(), runs.selectors[0, :, 0], strict=True):
        counts[2 * first + second, selector] += 1
    plain = mutual_information(counts)
    seen = (counts > 0).sum() - (counts.sum(1) > 0).sum() - (counts.sum(0) > 0).sum() + 1
    wanted = {"none": plain, "miller-madow": plain - seen / 24, "chance": plain - expected_mutual_information(counts)}
    for correction, value in wanted.items():
        ours = row_information(runs, correction=correction)
        torch.testing.assert_close(ours, value.clamp(min=0).view(1, 1))
    torch.testing.assert_close(fcmi_bound(runs, "chance"), (2 * wanted["chance"].clamp(min=0)).sqrt().view(1))


def test_chance_correction_removes_the_bias_of_independent_predictions():
    """Over all ways to pair fixed predictions with fixed selectors the corrected estimate, unclipped, is 0."""
    predictions = torch.tensor([0, 0, 1, 1, 1, 0])
    total, count = 0.0, 0
    for chosen in product((0, 1), repeat=6):
        if sum(chosen) == 3:
            counts = torch.zeros(2, 2, dtype=torch.long)
            for prediction, selector in zip(predictions, chosen, strict=True):
                counts[prediction, selector] += 1
            total += float(mutual_information(counts) - expected_mutual_information(counts))
            count += 1
    assert total / count == pytest.approx(0, abs=1e-15)


def test_large_tables_are_cut_into_batches(monkeypatch):
    runs = random_runs(2, classes=5)
    whole = row_information(runs, correction="chance")
    monkeypatch.setattr(bounds, "_TABLES", 1)
    torch.testing.assert_close(row_information(runs, correction="chance"), whole)


@given(some.integers(0, 10**6), some.sampled_from([2, 3]), some.floats(0, 1), some.integers(1, 8), some.integers(1, 5))
def test_no_bound_falls_below_the_gap_for_any_supersample(seed, classes, fit, half, n):
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


def test_a_constant_learner_tells_nothing():
    runs = random_runs(3)
    constant = SupersampleRuns(runs.selectors, torch.zeros_like(runs.predictions), torch.zeros_like(runs.labels), 2)
    for name, value in by_name(constant).items():
        wanted = math.sqrt(2 * LN2) if name == "CMI, at most" else 0.0
        torch.testing.assert_close(value, torch.full((3,), wanted, dtype=torch.float64), atol=1e-12, rtol=0)


def test_with_two_classes_predictions_and_errors_tell_the_same():
    runs = random_runs(4)
    assert torch.allclose(row_information(runs), row_information(runs, "errors"), atol=1e-14)


def test_with_three_classes_the_order_is_predictions_errors_difference():
    runs = random_runs(5, classes=3, k2=40, n=50)
    bound = by_name(runs)
    assert (bound["f-CMI"] > bound["e-CMI"] + 1e-6).all()
    assert (bound["e-CMI"] > bound["ld-CMI"] + 1e-6).all()


def test_when_networks_interpolate_the_order_is_that_of_the_chapter():
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
def test_nothing_depends_on_the_order_of_rows_draws_or_classes(seed):
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


def test_swapping_the_columns_changes_nothing():
    runs = random_runs(7, classes=3)
    swapped = SupersampleRuns(1 - runs.selectors, runs.predictions.flip(-1), runs.labels.flip(-1), 3)
    torch.testing.assert_close(generalization_gap(swapped), generalization_gap(runs))
    for name, value in by_name(runs).items():
        torch.testing.assert_close(by_name(swapped)[name], value, atol=1e-12, rtol=0, equal_nan=True)


def test_draws_are_a_part_of_the_runs():
    runs = random_runs(8)
    chosen = torch.tensor([0, 4])  # one and its complement
    part = runs.draws(chosen)
    assert torch.equal(part.selectors, runs.selectors[:, chosen]) and torch.equal(part.labels, runs.labels)
    assert (fcmi_bound(part) >= generalization_gap(part).abs() - 1e-12).all()


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.5, 1.0])
def test_the_inverse_of_the_binary_divergence_against_a_grid(loss):
    grid = np.linspace(loss, 1, 200_001)
    middle = (loss + grid) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log(p / q), 0.0) for p, q in ((loss, middle), (1 - loss, 1 - middle))]
    divergence = np.nan_to_num(sum(terms), nan=0.0)
    for information in (0.0, 1e-4, 0.05, 0.3, 0.7, 2.0):
        largest = grid[divergence <= information + 1e-15].max()
        ours = float(binary_kl_inverse(torch.tensor(loss), torch.tensor(information, dtype=torch.float64)))
        assert ours == pytest.approx(largest, abs=2e-5)
    assert float(binary_kl_inverse(torch.tensor(loss), torch.tensor(5.0))) == 1


def test_binary_divergence_at_error_zero_has_a_closed_form():
    information = torch.tensor([0.0, 0.1, 0.5, 0.6931, 3.0], dtype=torch.float64)
    wanted = (2 * -torch.expm1(-information)).clamp(max=1)
    torch.testing.assert_close(binary_kl_inverse(torch.zeros(5), information), wanted)


def test_constants_of_the_linear_and_fast_bounds_are_admissible_and_near_the_best():
    loss, information = 0.1, 0.02
    from scipy.optimize import brute

    def linear(c):
        c1, c2 = c
        admissible = 0 < c2 <= 0.37 and c2 * (c1 - 1) >= (math.expm1(c2) - c2) * (1 + c1**2)
        return c1 * loss + information / c2 if admissible else 10.0

    def fast(c):
        c1, c2 = c
        admissible = 0 < c2 < LN2 / 2 and math.exp(2 * c2) + math.exp(-2 * c2 * (c1 + 1)) <= 2
        return c1 * loss + information / c2 if admissible else 10.0

    for ours, objective, ranges in (
        (linear_bound, linear, (slice(1, 4, 0.005), slice(0.002, 0.37, 0.002))),
        (fast_rate_bound, fast, (slice(0.005, 4, 0.005), slice(0.002, 0.346, 0.002))),
    ):
        best = brute(objective, ranges, full_output=True, finish=None)[1]
        value = float(ours(torch.tensor(loss), torch.tensor(information)))
        assert value <= best and value == pytest.approx(best, rel=0.01)


def test_special_cases_of_the_bounds():
    zero, information = torch.tensor(0.0), torch.tensor(0.1, dtype=torch.float64)
    assert float(fast_rate_bound(zero, information)) == pytest.approx(0.2 / LN2)
    assert float(interpolation_bound(information)) == pytest.approx(0.1 / LN2)
    assert float(linear_bound(torch.tensor(0.1), information)) <= 0.2 + 0.3


@pytest.mark.parametrize("mean_square", [0.04, 0.1, 0.2])
def test_the_variance_bound_is_best_at_the_fast_rate(mean_square):
    loss, information = 0.2, 0.03
    c2 = np.linspace(0, LN2 / 2, 2002)[1:-1]
    scaled = -np.log1p(-np.expm1(2 * c2)) / (2 * c2) - 1
    best = [(scaled / g2 * (loss - (1 - g2) * mean_square) + information / c2).min() for g2 in (0.2, 0.5, 0.9, 1.0)]
    assert (np.diff(best) <= 1e-15).all()
    assert best[-1] == pytest.approx(float(fast_rate_bound(torch.tensor(loss), torch.tensor(information))), rel=1e-6)


def thresholds(n, seed):
    """Smallest threshold consistent with the training half, on 2n points of [0, 1]: all 2^n selectors."""
    points = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = (points >= 0.5).long()
    selectors = torch.tensor(list(product((0, 1), repeat=n)))
    trained = points.gather(1, selectors.T).T  # [2^n, n]
    cut = torch.where(trained < 0.5, trained, -1.0).max(1).values  # everything above the last zero is one
    predictions = (points[None] > cut[:, None, None]).long()
    return SupersampleRuns(selectors[None], predictions[None], labels[None], 2)


def test_thresholds_by_enumeration_lie_between_the_gap_and_the_vc_bound():
    n, gaps, single, whole = 4, [], [], []
    for seed in range(200):
        runs = thresholds(n, seed)
        gaps.append(float(generalization_gap(runs)))
        single.append(float(fcmi_bound(runs)))
        patterns = runs.predictions[0].flatten(1) @ 2 ** torch.arange(2 * n)
        _, pattern = patterns.unique(return_inverse=True)
        joint = torch.zeros(int(pattern.max()) + 1, 2**n, dtype=torch.long)
        joint[pattern, torch.arange(2**n)] = 1
        information = float(mutual_information(joint))
        assert information <= math.log(2 * n + 1) + 1e-12
        whole.append(math.sqrt(2 / n * information))
    assert np.mean(gaps) < np.mean(single) < np.mean(whole) < vc_bound(n, 1)
    # of 4 training points N ~ Bin(4, 1/2) lie below 1/2, and the cut misses 1 / (2 (N + 1)) on average
    assert np.mean(gaps) == pytest.approx((1 - 2**-5) / 5, abs=4 * np.std(gaps) / math.sqrt(200))


def test_closed_bounds_by_hand():
    assert vc_bound(1000, 10) == pytest.approx(math.sqrt(2 / 1000 * 62.9832), abs=1e-6)
    assert vc_bound(4, 1) == pytest.approx(1.2409, abs=1e-4)
    assert stability_bound(16, 2.0, 0.5) == pytest.approx(2**1.5 * 2)
    squared = squared_stability_bound(4, 9, 2.0, stability=1.0, test_stability=0.5, train_stability=0.5)
    assert squared == pytest.approx(7 / 4 + 8 * math.sqrt(2) * 3 * 2 * math.sqrt(2 + 1 + 1))


def test_the_sgld_bound_by_hand():
    rates, betas = torch.tensor([0.1, 0.05]), torch.tensor([10.0, 40.0])
    variances = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    first, second = 0.1 * 10 / 4 * 3, 0.05 * 40 / 4
    factor = 5 / (4 * 2 * 4**2)
    wanted = torch.tensor([[first, first + second], [0.0, 2 * second]], dtype=torch.float64).mul(factor).sqrt()
    torch.testing.assert_close(sgld_bound(5, 2, rates, betas, variances), wanted)


def test_the_bootstrap_interval_covers_the_mean_of_normal_values():
    generator = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        low, high = bootstrap_interval(torch.tensor(generator.normal(size=30)), seed=seed)
        inside += low <= 0 <= high
    assert 86 <= inside <= 99


def test_every_bound_is_in_the_table_with_its_kind():
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
    (lambda: row_information(random_runs(0), "labels"), "variable must be one of 'predictions'"),
    (lambda: row_information(random_runs(0), correction="jackknife"), "correction must be one of 'none'"),
    (lambda: binary_kl_inverse(torch.tensor(1.5), torch.tensor(0.1)), r"train_error must lie in \[0, 1\]"),
    (lambda: fast_rate_bound(torch.tensor(0.5), torch.tensor(-0.1)), "information must lie in"),
    (lambda: vc_bound(0, 1), "n must be at least 1, got 0"),
    (lambda: stability_bound(1, -1.0, 0.1), "lipschitz must be finite and lie in"),
    (lambda: sgld_bound(5, 1, torch.ones(2), torch.ones(3), torch.ones(2)), "must share T, got shapes"),
    (lambda: bootstrap_interval(torch.tensor([1.0])), "values must be .k1. with k1 >= 2"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
