"""LIMIT: values by hand, whom gradients reach, the scale of its noise, its closed form by search, and its score."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from infocap import label_noise as ln
from infocap.noise import uniform_transition

B, K = 6, 4
KINDS = ("gaussian", "laplace")


@pytest.mark.parametrize("kind", KINDS)
def test_limit_values(batch, kind):
    logits, auxiliary, labels = batch()
    classifier, second = ln.limit_losses(logits, auxiliary, labels, beta=2.5, kind=kind)
    s, q = logits.softmax(1).tolist(), auxiliary.softmax(1).tolist()
    cross_entropy = error = length = 0.0
    for b, k in itertools.product(range(B), range(K)):
        y = float(labels[b] == k)
        predicted, actual = s[b][k] - q[b][k], s[b][k] - y
        cross_entropy -= q[b][k] * math.log(s[b][k]) / B
        error += ((predicted - actual) ** 2 if kind == "gaussian" else abs(predicted - actual)) / B
        length += predicted**2 / B
    assert classifier.item() == pytest.approx(cross_entropy)
    assert second.item() == pytest.approx(error + 2.5 * length)


@pytest.mark.parametrize("kind", KINDS)
def test_limit_gradients_stay_on_their_own_network(batch, gradient, kind):
    logits, auxiliary, labels = batch()
    classifier, second = ln.limit_losses(logits, auxiliary, labels, beta=2.0, kind=kind)
    mine, others = gradient(classifier, logits, auxiliary)
    assert mine.abs().max() > 0 and others is None
    others, mine = gradient(second, logits, auxiliary)
    assert mine.abs().max() > 0 and others is None


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_do_not_reach_the_classifier(generator, kind, noise_std):
    inputs = torch.randn(32, 5, generator=generator(1))
    labels = torch.randint(0, K, (32,), generator=generator(2))
    torch.manual_seed(0)
    networks = torch.nn.ModuleList(torch.nn.Linear(5, K) for _ in range(2))

    def gradients(labels):
        networks.zero_grad()
        losses = ln.limit_losses(
            *(f(inputs) for f in networks), labels, beta=2.0, kind=kind, noise_std=noise_std, generator=generator(9)
        )
        sum(losses).backward()
        return [[p.grad.clone() for p in f.parameters()] for f in networks]

    first, second = gradients(labels), gradients(labels[torch.randperm(32, generator=generator(4))])
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


KURTOSIS = {"gaussian": 3.0, "laplace": 6.0}


@pytest.mark.parametrize("kind", KINDS)
def test_limit_noise_is_in_the_units_of_one_example(generator, batch, gradient, close, kind):
    size, std = 20000, 0.3
    logits, auxiliary, labels = batch(size=size)
    plain = ln.limit_losses(logits, auxiliary, labels, beta=1.0, kind=kind)
    noisy = ln.limit_losses(logits, auxiliary, labels, beta=1.0, kind=kind, noise_std=std, generator=generator(1))
    assert [x.item() for x in noisy] == [x.item() for x in plain]
    noise = size * (gradient(noisy[0], logits)[0] - gradient(plain[0], logits)[0])
    assert noise.mean().item() == pytest.approx(0, abs=4 * std / math.sqrt(noise.numel()))
    assert noise.std().item() == pytest.approx(std, rel=0.02)
    assert ((noise / std) ** 4).mean().item() == pytest.approx(KURTOSIS[kind], rel=0.1)
    close(gradient(noisy[1], auxiliary)[0], gradient(plain[1], auxiliary)[0])


EXAMPLES = [
    ("gaussian", 1, (0.35, 0.275, 0.375)),
    ("laplace", 1, (0.36667, 0.21667, 0.41667)),
    ("laplace", 3, (0.25556, 0.27222, 0.47222)),
]
NOISY, PREDICTION = (0.5, 0.25, 0.25), (0.2, 0.3, 0.5)


@pytest.mark.parametrize("kind, beta, expected", EXAMPLES)
def test_optimal_auxiliary_examples(kind, beta, expected):
    q = ln.optimal_auxiliary(NOISY, PREDICTION, beta=beta, kind=kind)
    assert q.dtype == torch.float64
    assert q.tolist() == pytest.approx(expected, abs=6e-6)


def expected_auxiliary_loss(q, p, s, beta, kind):
    """By its definition: the mean over the labels y, for q ``[..., K]``."""
    eye = torch.eye(len(p), dtype=torch.float64)
    difference = q[..., None, :] - eye
    distance = (difference.square() if kind == "gaussian" else difference.abs()).sum(-1)
    return distance @ p + beta * (s - q).square().sum(-1)


def random_distributions(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.softmax(2 * torch.randn(3, generator=g, dtype=torch.float64), 0) for _ in range(2)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_optimal_auxiliary_beats_every_point_of_a_grid(kind, beta, seed):
    p, s = random_distributions(seed)
    m = 200
    a, b = torch.meshgrid(torch.arange(m + 1), torch.arange(m + 1), indexing="ij")
    grid = torch.stack([a, b, m - a - b], -1)[a + b <= m].double() / m
    values = expected_auxiliary_loss(grid, p, s, beta, kind)
    q = ln.optimal_auxiliary(p, s, beta=beta, kind=kind)
    assert q.sum().item() == pytest.approx(1) and q.min() >= 0
    assert expected_auxiliary_loss(q, p, s, beta, kind) <= values.min() + 1e-12
    if beta > 0:  # with beta = 0 the L1 objective may be flat
        assert (grid[values.argmin()] - q).abs().max() <= 2 / m


@pytest.mark.parametrize(
    "kind, beta", [("gaussian", 0.0), ("gaussian", 2.0), ("laplace", 1.0), ("laplace", 3.0), ("laplace", 0.2)]
)
def test_optimal_auxiliary_is_where_training_with_limit_losses_ends(close, kind, beta):
    """The loss on a batch whose label frequencies are P, minimized over one shared softmax vector."""
    labels = torch.tensor([0, 0, 1, 2])
    logits = torch.tensor(PREDICTION, dtype=torch.float64).log().expand(4, 3)
    free = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [free], max_iter=400, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = ln.limit_losses(logits, free.expand(4, 3), labels, beta=beta, kind=kind)[1]
        loss.backward()
        return loss

    optimizer.step(closure)
    q = ln.optimal_auxiliary(NOISY, PREDICTION, beta=beta, kind=kind)
    # beta = 0.2 has its minimum at a corner, which a softmax only approaches
    close(free.detach().softmax(0), q, atol=1e-6 if beta != 0.2 else 1e-3)


@given(st.integers(2, 8), st.floats(0.01, 100), st.integers(0, 10**6), st.sampled_from(KINDS))
def test_optimal_auxiliary_cannot_be_improved_along_any_direction(generator, num_classes, beta, seed, kind):
    g = generator(seed)
    p, s, other = (torch.softmax(3 * torch.randn(num_classes, generator=g, dtype=torch.float64), 0) for _ in range(3))
    q = ln.optimal_auxiliary(p, s, beta=beta, kind=kind)
    best = expected_auxiliary_loss(q, p, s, beta, kind)
    for step in (1e-3, 0.1, 1.0):
        assert best <= expected_auxiliary_loss(q + step * (other - q), p, s, beta, kind) + 1e-10


def test_optimal_auxiliary_without_penalty():
    assert ln.optimal_auxiliary(NOISY, PREDICTION, beta=0, kind="gaussian").tolist() == list(NOISY)
    assert ln.optimal_auxiliary(NOISY, PREDICTION, beta=0, kind="laplace").tolist() == [1, 0, 0]
    assert ln.optimal_auxiliary((0.25, 0.375, 0.375), PREDICTION, beta=0, kind="laplace").tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("beta", [1e-3, 1e-12, 1e-20, 1e-300])
def test_optimal_auxiliary_is_exact_for_a_tiny_penalty(beta):
    assert ln.optimal_auxiliary(NOISY, PREDICTION, beta=beta, kind="laplace").tolist() == [1, 0, 0]
    tied = ln.optimal_auxiliary((0.4, 0.4, 0.2), PREDICTION, beta=beta, kind="laplace")
    assert tied.tolist() == pytest.approx([0.45, 0.55, 0], abs=1e-12)  # projected within the tie


@pytest.mark.parametrize("kind", KINDS)
def test_optimal_auxiliary_of_a_batch(generator, close, kind):
    p, s = (
        torch.softmax(torch.randn(shape, generator=generator(i)), -1) for i, shape in enumerate([(5, 1, 4), (3, 4)])
    )
    q = ln.optimal_auxiliary(p, s, beta=2.0, kind=kind)
    assert q.shape == (5, 3, 4) and q.dtype == torch.float64
    close(q[4, 2], ln.optimal_auxiliary(p[4, 0], s[2], beta=2.0, kind=kind), atol=1e-15)


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_fixed_points_explain_why_l1_cleans(close, rate):
    """Follow s <- q: L2 stays at the noisy posterior, L1 walks to the true class."""
    noisy = uniform_transition(10, rate)[0]
    q = noisy
    for _ in range(400):
        q = ln.optimal_auxiliary(noisy, q, beta=3.0, kind="laplace")
    close(q, torch.eye(10, dtype=torch.float64)[0], atol=1e-12)
    close(ln.optimal_auxiliary(noisy, noisy, beta=3.0, kind="gaussian"), noisy)


def test_mislabel_score_is_the_distance_of_the_gradients(batch, close):
    logits, auxiliary, labels = batch(torch.float32)
    s, q, y = logits.double().softmax(1), auxiliary.double().softmax(1), F.one_hot(labels, K)
    score = ln.mislabel_score(auxiliary, labels)
    assert score.shape == (B,) and score.dtype == torch.float64
    close(score, ((s - q) - (s - y)).norm(dim=1), atol=1e-14)
    sure = torch.tensor([[300.0, 0.0], [300.0, 0.0]])
    close(ln.mislabel_score(sure, torch.tensor([0, 1])), torch.tensor([0.0, math.sqrt(2)], dtype=torch.float64))


Z, A, Y = torch.ones(B, K).double(), torch.ones(B, K).double(), torch.arange(B) % K
NAN = torch.full((B, K), float("nan"))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: ln.limit_losses(Z, A, Y, beta=1.0, kind="l1"),
            ValueError,
            "kind must be one of 'gaussian', 'laplace', got 'l1'",
        ),
        (
            lambda: ln.limit_losses(Z, A, Y, beta=-1.0, kind="laplace"),
            ValueError,
            r"beta must be finite and lie in \[0, inf\], got -1.0",
        ),
        (
            lambda: ln.limit_losses(Z, A, Y, beta=1.0, kind="laplace", noise_std=-1.0),
            ValueError,
            "noise_std must be finite",
        ),
        (
            lambda: ln.limit_losses(Z, A, Y, beta=1.0, kind="laplace", noise_std=0.1),
            TypeError,
            "generator must be a torch.Generator, got NoneType",
        ),
        (
            lambda: ln.limit_losses(Z, A[:, :3], Y, beta=1.0, kind="laplace"),
            ValueError,
            r"auxiliary_logits must be .* equal to its peers, got shape \(6, 3\)",
        ),
        (lambda: ln.limit_losses(Z, NAN, Y, beta=1.0, kind="laplace"), ValueError, "auxiliary_logits must be finite"),
        (
            lambda: ln.optimal_auxiliary(NOISY, (0.2, 0.3, 0.6), beta=1.0, kind="laplace"),
            ValueError,
            "prediction must sum to 1",
        ),
        (
            lambda: ln.optimal_auxiliary((0.5, 0.6), (0.5, 0.5), beta=1.0, kind="laplace"),
            ValueError,
            "label_distribution must sum to 1",
        ),
        (
            lambda: ln.optimal_auxiliary(NOISY, (0.5, 0.5), beta=1.0, kind="laplace"),
            ValueError,
            r"prediction must broadcast with label_distribution \(3,\), got shape \(2,\)",
        ),
        (lambda: ln.optimal_auxiliary(NOISY, PREDICTION, beta=-1.0, kind="laplace"), ValueError, "beta must be finite"),
        (lambda: ln.optimal_auxiliary(NOISY, PREDICTION, beta=1.0, kind="l2"), ValueError, "kind must be one of"),
        (lambda: ln.mislabel_score(NAN, Y), ValueError, "auxiliary_logits must be finite"),
        (lambda: ln.mislabel_score(A, Y + K), ValueError, "labels must lie in"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
