"""Memorization scores against enumeration of all training sets, and forgetting events by hand."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infocap.memorization import forgetting_events, memorization_score


def nearest_neighbour(points, labels, chosen):
    """Predictions of 1-nearest-neighbour trained on some of the points."""
    distance = (points[:, None] - points[list(chosen)]).abs()
    return labels[list(chosen)][distance.argmin(1)]


def all_halves(points, labels):
    size = len(points)
    subsets = list(combinations(range(size), size // 2))
    members = torch.zeros(len(subsets), size, dtype=torch.long)
    correct = torch.zeros_like(members)
    for place, chosen in enumerate(subsets):
        members[place, list(chosen)] = 1
        correct[place] = (nearest_neighbour(points, labels, chosen) == labels).long()
    return members, correct


def test_scores_of_a_memorizing_learner_by_enumeration():
    points = torch.tensor([0.0, 1.0, 2.1, 10.0, 11.0, 12.1])
    labels = torch.tensor([0, 0, 0, 1, 1, 0])  # the last label is odd in its group
    members, correct = all_halves(points, labels)
    scores = memorization_score(members, correct).score
    for example in range(6):
        rates = {}
        for chosen in combinations(range(6), 3):
            right = nearest_neighbour(points, labels, chosen)[example] == labels[example]
            rates.setdefault(example in chosen, []).append(float(right))
        expected = sum(rates[True]) / len(rates[True]) - sum(rates[False]) / len(rates[False])
        assert scores[example] == pytest.approx(expected, abs=1e-15)
    assert scores.argmax() == 5


def test_the_mean_score_is_the_gap():
    points, labels = torch.arange(6.0), torch.tensor([0, 1, 0, 0, 1, 1])
    members, correct = all_halves(points, labels)
    wrong = 1 - correct.double()
    test, train = ((wrong * part).sum(1) / part.sum(1) for part in (1 - members, members))
    assert memorization_score(members, correct).score.mean() == pytest.approx(float((test - train).mean()), abs=1e-15)


def test_standard_errors_are_those_of_simulated_scores():
    generator = torch.Generator().manual_seed(0)
    rates = torch.tensor([0.9, 0.4])  # trained on, not trained on
    members = torch.arange(60).remainder(2)[:, None].expand(-1, 4000)
    correct = (torch.rand(members.shape, generator=generator) < torch.where(members == 1, rates[0], rates[1])).long()
    found = memorization_score(members, correct)
    assert found.score.mean() == pytest.approx(0.5, abs=0.01)
    assert found.score.std() == pytest.approx(float(found.standard_error.square().mean().sqrt()), rel=0.05)


@given(st.integers(0, 2**30), st.permutations(range(5)))
def test_permuting_examples_permutes_scores(seed, order):
    generator = torch.Generator().manual_seed(seed)
    members = torch.stack([torch.randperm(8, generator=generator) % 2 for _ in range(5)], 1)
    correct = torch.randint(2, (8, 5), generator=generator)
    scores = memorization_score(members, correct).score
    assert torch.equal(memorization_score(members[:, order], correct[:, order]).score, scores[list(order)])
    assert ((scores >= -1) & (scores <= 1)).all()


def test_forgetting_counts_falls_and_puts_the_never_learned_above_all():
    correct = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    assert forgetting_events(correct).tolist() == [2, 4, 0, 2]
    stacked = torch.stack([correct, ~correct], 1)
    assert forgetting_events(stacked).tolist() == [[2, 4, 0, 2], [1, 0, 1, 1]]


BINARY = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: memorization_score(BINARY, BINARY[:3]),
            r"members, correct must both be \[k, N\], got shapes \(4, 2\)",
        ),
        (lambda: memorization_score(2 * BINARY, BINARY), "members must hold 0 and 1 only, got 2"),
        (lambda: memorization_score(BINARY, BINARY * 0.5), "correct must hold 0 and 1 only, got 0.5"),
        (
            lambda: memorization_score(BINARY[1:], BINARY[1:]),
            "two networks with and two without each example, not so 0",
        ),
        (lambda: forgetting_events(torch.zeros(3)), r"correct must be \[looks, ..., N\], got shape \(3,\)"),
        (lambda: forgetting_events(torch.zeros(0, 3)), "correct must not be empty"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
