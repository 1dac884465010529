"""The exact toys of part 1 against the numbers printed by other programs, loops, sampling and general quadrature."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import scipy.integrate
import torch

from infocap.experiments.noisy_labels import toys
from infocap.information import entropy
from infocap.noise import uniform_transition

BIT = math.log(2)


def measure(toy, parameter):
    return toys.measure(toys.Cell(toy, parameter))


def test_the_table_is_json_and_its_cells_are_frozen_and_distinct():
    cells = [cell for panel in toys.PANELS.values() for cell in panel]
    assert len(set(cells)) == len(cells)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cells[0].parameter = 1.0
    for cell in cells:
        row = toys.measure(cell)
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert toys.measure(cell) == row
    assert all(cell.toy == name for name, panel in toys.PANELS.items() for cell in panel)


@pytest.mark.parametrize("m, errors", list(enumerate([2.4, 1.8, 1.2, 0.6, 0.0])))
def test_storing_labels_meets_the_fano_bound_with_equality(m, errors):
    row = measure("store_m_labels", float(m))
    assert row["expected_errors"] == pytest.approx(errors, abs=1e-12)
    assert row["fano_errors"] == pytest.approx(errors, abs=1e-12)
    assert row["information"] == pytest.approx(m * row["noise_entropy"], abs=1e-12)
    # a stored label is right on itself, and on a fresh one with probability sum_k P_k^2; the others show no gap
    assert row["gap"] == pytest.approx(m * (1 - (0.4**2 + 3 * 0.2**2)) / 4, abs=1e-12)


def test_channel():
    row = measure("channel", 0.1)
    assert row["information"] / BIT == pytest.approx(2.4843, abs=5e-5)
    assert row["expected_errors"] == pytest.approx(0.1, abs=1e-12)
    assert row["fano_errors"] == pytest.approx(0.0961, abs=5e-5)
    stored = torch.tensor([0.2] + [0.8 / 9] * 9, dtype=torch.float64) @ uniform_transition(10, 0.1)
    by_channel = entropy(stored) - entropy(uniform_transition(10, 0.1)[0])
    assert row["information"] == pytest.approx(by_channel.item(), abs=1e-12)


TAUS = (0.0, 0.5, 1.0, 2.0, 4.0, 50.0)
GIBBS = {
    "information_bits": (0, 0.156, 0.596, 1.715, 2.951, 3.349),
    "expected_errors": (2.625, 2.150, 1.704, 1.131, 0.802, 0.746),
    "fano_errors": (2.287, 1.860, 1.468, 0.849, 0.160, -0.120),
    "gap": (0, 0.107, 0.210, 0.343, 0.422, 0.435),
    "gap_bound": (0, 0.116, 0.227, 0.386, 0.506, 0.539),
}


@pytest.mark.parametrize("name", GIBBS)
def test_gibbs_learner_prints(name):
    rows = [measure("gibbs", tau) for tau in TAUS]
    found = [row["information"] / BIT if name == "information_bits" else row[name] for row in rows]
    assert found == pytest.approx(GIBBS[name], abs=6e-4)


@pytest.mark.parametrize("tau", [0.5, 4.0])
def test_gibbs_learner_by_loops(tau):
    labelings = [tuple(map(int, labeling)) for labeling in toys.LABELINGS.split()]
    assert len(set(labelings)) == 20 and labelings[0] == (0, 0, 0, 0)
    joint = {}
    for y in itertools.product(range(3), repeat=4):
        p_y = math.prod(0.5 if label == 0 else 0.25 for label in y)
        score = {w: math.exp(-tau * sum(a != b for a, b in zip(y, w, strict=True))) for w in labelings}
        joint |= {(y, w): p_y * score[w] / sum(score.values()) for w in labelings}
    p_y, p_w = {}, {}
    for (y, w), p in joint.items():
        p_y[y], p_w[w] = p_y.get(y, 0) + p, p_w.get(w, 0) + p
    information = sum(p * math.log(p / (p_y[y] * p_w[w])) for (y, w), p in joint.items())
    errors = sum(p * sum(a != b for a, b in zip(y, w, strict=True)) for (y, w), p in joint.items())
    fresh = sum(p_w[w] * p_y[y] * sum(a != b for a, b in zip(y, w, strict=True)) for y in p_y for w in p_w)
    row = measure("gibbs", tau)
    assert row["information"] == pytest.approx(information, abs=1e-12)
    assert row["expected_errors"] == pytest.approx(errors, abs=1e-12)
    assert row["gap"] == pytest.approx((fresh - errors) / 4, abs=1e-12)


@pytest.mark.parametrize("toy", ["store_m_labels", "channel", "gibbs"])
def test_no_learner_breaks_a_bound(toy):
    for cell in toys.PANELS[toy]:
        row = toys.measure(cell)
        n = row["num_labels"]
        assert row["expected_errors"] >= row["fano_errors"] - 1e-12
        assert row["expected_errors"] / n >= row["minimum_error_rate"] - 1e-12
        assert abs(row["gap"]) <= row["gap_bound"] + 1e-12


def test_minimum_error_rate_curve():
    row = measure("minimum_error_rate", 0.4)
    assert row["error_rate"][::10] == pytest.approx([0.4, 0.2661, 0.1561, 0.0660, 0], abs=6e-5)
    assert row["information"][-1] == pytest.approx(row["noise_entropy"])


def sampled_information(sigma, size=400_000):
    """Mean and standard error of ``ln p(g | y) / p(g)`` over gradients g that are drawn from their definition.

    At large sigma the variational bound by the posterior mean is nearly tight and known exactly: then only the
    difference of the two is sampled (a control variate).
    """
    rng = np.random.default_rng(0)
    row = uniform_transition(10, 0.6)[0].numpy()
    y = rng.choice(10, size, p=row)
    g = 0.1 - np.eye(10)[y] + sigma * rng.standard_normal((size, 10))
    centre = 0.1 - np.eye(10)
    log_given = -((g[:, None] - centre) ** 2).sum(-1) / (2 * sigma**2)
    log_ratio = log_given[np.arange(size), y] - np.log((row * np.exp(log_given)).sum(1))
    control = log_given[np.arange(size), y] + ((g - (0.1 - row)) ** 2).sum(1) / (2 * sigma**2)
    known = (1 - row @ row) / (2 * sigma**2)
    difference = log_ratio - control
    best = (log_ratio, 0.0) if log_ratio.std() < difference.std() else (difference, known)
    return best[0].mean() + best[1], best[0].std() / math.sqrt(size)


@pytest.mark.parametrize("sigma", [0.2, 0.3, 0.5, 1.0, 3.0])
def test_information_in_a_noisy_gradient_by_sampling(sigma):
    mean, error = sampled_information(sigma)
    assert measure("variational", sigma)["information"] == pytest.approx(mean, abs=4 * error)
    assert error < 2e-3


@pytest.mark.parametrize(
    "sigma, information, posterior, prediction, capacity",
    # the information was printed by another sampler, whose error at sigma = 1 and 3 is some 1e-3
    [
        (0.1, 1.991, 40.0, 45.0, 11.51),
        (0.3, 1.844, 4.444, 5.0, 3.466),
        (1.0, 0.3755, 0.4, 0.45, 0.4309),
        (3.0, 0.0431, 0.0444, 0.05, 0.0498),
    ],
)
def test_variational_prints(sigma, information, posterior, prediction, capacity):
    row = measure("variational", sigma)
    assert row["information"] == pytest.approx(information, abs=4e-3)
    assert row["bound_posterior"] == pytest.approx(posterior, abs=5e-4)
    assert row["bound_prediction"] == pytest.approx(prediction, abs=5e-4)
    assert row["bound_capacity"] == pytest.approx(capacity, abs=4e-3)


def test_variational_bounds_hold_and_the_label_entropy_wins_at_small_noise():
    for cell in toys.PANELS["variational"]:
        row = toys.measure(cell)
        bounds = [row["label_entropy"], row["bound_posterior"], row["bound_prediction"], row["bound_capacity"]]
        assert row["information"] <= min(bounds) + 1e-12
    assert measure("variational", 0.1)["information"] == pytest.approx(row["label_entropy"], abs=1e-6)


@pytest.mark.parametrize(
    "snr, bits, bound_bits",
    [(0.1, 0.06874, 0.06875), (0.5, 0.29048, 0.29248), (1, 0.48594, 0.5), (2, 0.72145, 0.79248), (4, 0.91282, 1.16096)],
)
def test_capacity(snr, bits, bound_bits):
    row = measure("capacity", float(snr))
    assert row["information"] / BIT == pytest.approx(bits, abs=6e-6)
    assert row["bound_capacity"] / BIT == pytest.approx(bound_bits, abs=6e-6)

    def density(g):  # of a fair sign with noise of variance 1/snr
        return sum(math.exp(-snr * (g - mu) ** 2 / 2) for mu in (-1, 1)) * math.sqrt(snr / (2 * math.pi)) / 2

    edge = 1 + 12 / math.sqrt(snr)
    total = scipy.integrate.quad(lambda g: -density(g) * math.log(density(g)), -edge, edge, limit=200, epsabs=1e-12)[0]
    noise = math.log(2 * math.pi * math.e / snr) / 2
    assert row["information"] == pytest.approx(total - noise, abs=1e-9)


@pytest.mark.parametrize(
    "toy, beta, auxiliary",
    [
        ("auxiliary_gaussian", 1.0, (0.35, 0.275, 0.375)),
        ("auxiliary_laplace", 1.0, (0.36667, 0.21667, 0.41667)),
        ("auxiliary_laplace", 3.0, (0.25556, 0.27222, 0.47222)),
    ],
)
def test_auxiliary(toy, beta, auxiliary):
    row = measure(toy, beta)
    assert row["auxiliary"] == pytest.approx(auxiliary, abs=6e-6)
    assert np.add(row["auxiliary"], row["predicted_gradient"]) == pytest.approx(row["prediction"])
