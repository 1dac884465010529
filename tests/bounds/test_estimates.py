"""Information from draws against plain loops, its corrections by hand, and thresholds by enumeration."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from infocap import bounds
from infocap.bounds import (
    SupersampleRuns,
    estimates,
    fcmi_bound,
    generalization_gap,
    row_information,
    vc_bound,
)
from infocap.information import expected_mutual_information, mutual_information


def test_information_equals_a_plain_loop(random_runs):
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


def test_corrections_by_hand(random_runs):
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


def test_large_tables_are_cut_into_batches(random_runs, monkeypatch):
    runs = random_runs(2, classes=5)
    whole = row_information(runs, correction="chance")
    monkeypatch.setattr(estimates, "_TABLES", 1)
    torch.testing.assert_close(row_information(runs, correction="chance"), whole)


def test_with_two_classes_predictions_and_errors_tell_the_same(random_runs):
    runs = random_runs(4)
    assert torch.allclose(row_information(runs), row_information(runs, "errors"), atol=1e-14)


def test_draws_are_a_part_of_the_runs(random_runs):
    runs = random_runs(8)
    chosen = torch.tensor([0, 4])  # one and its complement
    part = runs.draws(chosen)
    assert torch.equal(part.selectors, runs.selectors[:, chosen]) and torch.equal(part.labels, runs.labels)
    assert (fcmi_bound(part) >= generalization_gap(part).abs() - 1e-12).all()


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


BAD_CALLS = [
    (lambda runs: row_information(runs, "labels"), "variable must be one of 'predictions'"),
    (lambda runs: row_information(runs, correction="jackknife"), "correction must be one of 'none'"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls(random_runs, call, message):
    runs = random_runs(0)
    with pytest.raises(ValueError, match=message):
        call(runs)
