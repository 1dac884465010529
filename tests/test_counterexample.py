"""The counterexample against a plain loop over all training sets, and against its properties."""

import math
from itertools import product

import pytest
import torch

from infocap.counterexample import enumerate_counterexample, pair_bound, pair_information_uniform
from infocap.information import mutual_information


def dot(a, v):
    return (a & v).bit_count() % 2


def plain(n, k):
    """The definition, one training set at a time: joint counts of W with Z_1 and with (Z_1, Z_2), and the gaps."""
    single, pairs, gaps = {}, {}, []
    for sample in product(product(range(2**k), range(2)), repeat=n):
        vectors, labels = zip(*sample, strict=True)
        a = next(a for a in range(1, 2**k) if all(dot(a, v ^ vectors[0]) == 0 for v in vectors))
        b = dot(a, vectors[0]) ^ sum(labels) % 2
        losses = [dot(a, v) ^ b for v in vectors]
        risk = sum(dot(a, v) ^ b for v in range(2**k)) / 2**k
        gaps.append(risk - sum(losses) / n)
        for table, key in ((single, ((a, b), sample[0])), (pairs, ((a, b), sample[:2]))):
            table[key] = table.get(key, 0) + 1
    return information(single), information(pairs), gaps


def information(table):
    rows, columns = (sorted({key[place] for key in table}) for place in (0, 1))
    counts = torch.tensor([[table.get((row, column), 0) for column in columns] for row in rows])
    return float(mutual_information(counts))


@pytest.mark.parametrize(("n", "k"), [(2, 2), (2, 3), (3, 3)])
def test_the_enumeration_equals_a_plain_loop(n, k):
    report = enumerate_counterexample(n, k)
    single, pair, gaps = plain(n, k)
    assert report.samples == len(gaps)
    assert report.single_information == pytest.approx(single, abs=1e-12)
    assert report.pair_information == pytest.approx(pair, abs=1e-12)
    assert report.mean_gap == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
    assert report.mean_squared_gap == pytest.approx(sum(gap**2 for gap in gaps) / len(gaps), abs=1e-12)
    assert report.gaps == {gap: gaps.count(gap) / len(gaps) for gap in set(gaps)}


@pytest.mark.parametrize("coin", [False, True])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_single_examples_tell_nothing_and_the_gap_is_one_half(n, coin):
    report = enumerate_counterexample(n, coin=coin)
    assert report.single_information <= 1e-12
    assert abs(report.mean_gap) <= 1e-12
    assert report.mean_squared_gap == 0.25
    assert report.mean_squared_posterior_gap == (0.0 if coin else 0.25)
    assert report.mean_squared_gap <= min(report.pair_bound, report.full_bound)


def test_measured_values():
    pairs = [enumerate_counterexample(n).pair_information for n in (2, 3, 4)]
    assert pairs == pytest.approx([1.732868, 0.822265, 0.750526], abs=1e-6)
    assert enumerate_counterexample(2, coin=True).pair_information == pytest.approx(1.5 * math.log(2), abs=1e-12)


def uniform(n, k):
    """``I(W; Z_1, Z_2)`` with a direction drawn uniformly, by enumeration of probabilities."""
    joint = torch.zeros(2 ** (k + 1), 4 ** (k + 1), dtype=torch.float64)
    for sample in product(range(2 ** (k + 1)), repeat=n):
        vectors, parity = [z >> 1 for z in sample], sum(z & 1 for z in sample) % 2
        admitted = [a for a in range(1, 2**k) if all(dot(a, v ^ vectors[0]) == 0 for v in vectors)]
        for a in admitted:
            weight = 1 / len(admitted) / 2 ** ((k + 1) * n)
            joint[2 * a + (dot(a, vectors[0]) ^ parity), sample[0] * 2 ** (k + 1) + sample[1]] += weight
    return float(mutual_information(joint))


def test_the_uniform_direction_has_a_closed_form():
    assert pair_information_uniform(3, 3) == pytest.approx(uniform(3, 3), abs=1e-12)
    assert pair_information_uniform(50, 2000) == pytest.approx(math.log(2), abs=1e-12)
    assert pair_information_uniform(10, 999) == pytest.approx(math.log(2), abs=1e-12)


def test_the_pair_bound_holds_for_many_examples():
    bounds = [pair_bound(n, pair_information_uniform(n, n)) for n in range(5, 101)]
    assert all(0.25 < bound < 1.2 for bound in bounds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: enumerate_counterexample(1), "n must be at least 2, got 1"),
        (lambda: enumerate_counterexample(3, 2), "k must be at least 3, got 2"),
        (lambda: enumerate_counterexample(5), r"n: got 5 with k = 5, 2\^30 training sets; accepted: up to 4,194,304"),
        (lambda: pair_information_uniform(2, 2), "n must be at least 3, got 2"),
        (lambda: pair_information_uniform(4, 3), "k must be at least 4, got 3"),
        (lambda: pair_bound(4, -0.1), "information must be finite and lie in"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
