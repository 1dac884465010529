"""Part 1's losses: values by hand, gradients by formula and by finite differences, closed forms by search."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from infocap import label_noise as ln
from infocap.noise import pair_transition, uniform_transition

B, K = 6, 4
KINDS = ("gaussian", "laplace")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(dtype=torch.float64, size=B, num_classes=K, seed=0):
    g = generator(seed)
    logits, auxiliary = (2 * torch.randn(size, num_classes, generator=g, dtype=dtype) for _ in range(2))
    return logits.requires_grad_(), auxiliary.requires_grad_(), torch.randint(0, num_classes, (size,), generator=g)


def gradient(loss, *inputs):
    return torch.autograd.grad(loss, inputs, allow_unused=True)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


TRANSITION = 0.6 * torch.eye(K, dtype=torch.float64) + 0.4 * torch.softmax(
    torch.randn(K, K, generator=generator(3)).double(), 1
)
FEATURES = torch.randn(B, 3, generator=generator(5), dtype=torch.float64)

# name: loss of (logits, auxiliary, labels), all networks' terms added
LOSSES = {
    "mae": lambda z, a, y: ln.mae_loss(z, y),
    "gce": lambda z, a, y: ln.gce_loss(z, y),
    "forward": lambda z, a, y: ln.forward_loss(z, y, TRANSITION),
    "dmi": lambda z, a, y: ln.dmi_loss(z, y),
    "limit_gaussian": lambda z, a, y: sum(ln.limit_losses(z, a, y, beta=3.0, kind="gaussian")),
    "limit_laplace": lambda z, a, y: sum(ln.limit_losses(z, a, y, beta=3.0, kind="laplace")),
    "soft_penalty": lambda z, a, y: ln.soft_penalty_loss(FEATURES.to(z), z, a, y, lam=0.3, beta=0.7),
    "co_teaching": lambda z, a, y: ln.co_teaching_loss(z, a, y, forget_rate=0.3),
}

# values


def test_baselines_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64)
    labels, logits = torch.tensor([0, 1]), p.log() + 5.0
    assert ln.mae_loss(logits, labels).item() == pytest.approx((2 * 0.5 + 2 * 0.8) / 2)
    assert ln.gce_loss(logits, labels, q=0.5).item() == pytest.approx((1 - 0.5**0.5 + 1 - 0.2**0.5) / 2 / 0.5)
    t = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    noisy = 0.5 * 0.8 + 0.25 * 0.3, 0.1 * 0.1 + 0.2 * 0.7
    assert ln.forward_loss(logits, labels, t).item() == pytest.approx(-sum(map(math.log, noisy)) / 2, abs=1e-7)
    three = torch.cat([p, torch.tensor([[0.3, 0.3, 0.4]], dtype=torch.float64)])
    determinant = np.linalg.det(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]))
    dmi = ln.dmi_loss(three.log(), torch.tensor([0, 1, 2])).item()
    assert dmi == pytest.approx(-math.log(abs(determinant) + 1e-3))


def test_mae_is_the_l1_distance():
    logits, _, labels = batch()
    distance = (logits.softmax(1) - F.one_hot(labels, K)).abs().sum(1).mean()
    assert ln.mae_loss(logits, labels).item() == pytest.approx(distance.item(), abs=1e-14)


def test_gce_lies_between_cross_entropy_and_mae():
    logits, _, labels = batch()
    assert ln.gce_loss(logits, labels, q=1).item() == pytest.approx(ln.mae_loss(logits, labels).item() / 2)
    assert ln.gce_loss(logits, labels, q=1e-9).item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-7)


def test_gce_default_is_the_literature_value():
    logits, _, labels = batch()
    assert torch.equal(ln.gce_loss(logits, labels), ln.gce_loss(logits, labels, q=0.7))


def test_forward_loss_without_noise_is_cross_entropy():
    logits, _, labels = batch()
    close(ln.forward_loss(logits, labels, torch.eye(K)), F.cross_entropy(logits, labels))


def test_forward_loss_teaches_a_saturated_network():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([1])
    (g,) = gradient(ln.forward_loss(logits, labels, pair_transition(3, 0.2, {2: 0})), logits)
    close(g, torch.tensor([[1.0, -1.0, 0.0]]), atol=1e-6)


def test_dmi_of_a_batch_without_some_class():
    logits, _, _ = batch()
    loss = ln.dmi_loss(logits, torch.zeros(B, dtype=torch.int64))
    assert loss.item() == pytest.approx(6.9078, abs=1e-4)
    close(gradient(loss, logits)[0], torch.zeros(B, K, dtype=torch.float64))


def test_dmi_is_not_divided_by_the_batch_size():
    logits, labels = batch(size=8)[0], torch.arange(8) % K
    once, twice = ln.dmi_loss(logits, labels), ln.dmi_loss(logits.repeat(2, 1), labels.repeat(2))
    determinants = [(-loss).exp().item() - 1e-3 for loss in (once, twice)]
    assert determinants[1] == pytest.approx(2**K * determinants[0]) and determinants[0] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_limit_values(kind):
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


def test_soft_penalty_is_about_the_last_layer_gradient():
    logits, auxiliary, labels = batch()
    y, s, q = F.one_hot(labels, K), logits.softmax(1), auxiliary.softmax(1)
    outer = torch.einsum
    actual, predicted = outer("bk,bd->bkd", s - y, FEATURES), outer("bk,bd->bkd", s - q, FEATURES)
    penalty = 0.3 * (actual - predicted).square().sum((1, 2)) + 0.7 * predicted.square().sum((1, 2))
    expected = F.cross_entropy(logits, labels) + penalty.mean()
    close(ln.soft_penalty_loss(FEATURES, logits, auxiliary, labels, lam=0.3, beta=0.7), expected)


# gradients


def analytic_gradient(name, logits, auxiliary, labels):
    """By hand: with respect to the logits of the classifier and, where it takes part, of the auxiliary network."""
    s, q, y = logits.softmax(1), auxiliary.softmax(1), F.one_hot(labels, K).double()
    s_y = (s * y).sum(1, keepdim=True)
    if name == "mae":
        return 2 * s_y * (s - y) / B, None
    if name == "gce":
        return s_y**0.7 * (s - y) / B, None
    if name == "forward":
        joint = s * TRANSITION[:, labels].T
        return (s - joint / joint.sum(1, keepdim=True)) / B, None
    if name == "dmi":
        u = y.T @ s
        d = torch.linalg.det(u).abs()
        through_s = -d / (d + 1e-3) * y @ torch.linalg.inv(u).T
        return s * (through_s - (through_s * s).sum(1, keepdim=True)), None
    if name.startswith("limit"):
        error = 2 * (q - y) if name == "limit_gaussian" else torch.sign(q - y)
        through_q = (error + 2 * 3.0 * (q - s)) / B
        return (s - q) / B, q * (through_q - (through_q * q).sum(1, keepdim=True))
    if name == "soft_penalty":
        size = FEATURES.square().sum(1, keepdim=True) / B
        through_s = size * 2 * 0.7 * (s - q)
        through_q = size * 2 * (0.3 * (q - y) - 0.7 * (s - q))
        return (
            (s - y) / B + s * (through_s - (through_s * s).sum(1, keepdim=True)),
            q * (through_q - (through_q * q).sum(1, keepdim=True)),
        )
    keep = 4  # co-teaching: 0.7 of 6 examples
    loss = [-torch.log((p * y).sum(1)) for p in (s, q)]
    chosen = [F.one_hot(other.argsort()[:keep], B).sum(0)[:, None] for other in loss]
    return chosen[1] * (s - y) / keep, chosen[0] * (q - y) / keep


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_formula(name, seed):
    logits, auxiliary, _ = batch(seed=seed)
    labels = torch.tensor([0, 1, 2, 3, 1, 2])  # every class, or DMI's table has no inverse
    found = gradient(LOSSES[name](logits, auxiliary, labels), logits, auxiliary)
    for a, b in zip(found, analytic_gradient(name, logits, auxiliary, labels), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            close(a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_finite_differences(name):
    logits, auxiliary, _ = batch()
    labels, loss = torch.tensor([0, 1, 2, 3, 1, 2]), LOSSES[name]
    if name.startswith("limit"):  # s and q are constants in one term each: differentiate the terms one by one
        options = {"beta": 3.0, "kind": name.removeprefix("limit_")}
        fixed = [x.detach() for x in (logits, auxiliary)]
        assert torch.autograd.gradcheck(lambda z: ln.limit_losses(z, fixed[1], labels, **options)[0], logits)
        assert torch.autograd.gradcheck(lambda a: ln.limit_losses(fixed[0], a, labels, **options)[1], auxiliary)
    elif name in ("soft_penalty", "co_teaching"):
        assert torch.autograd.gradcheck(lambda z, a: loss(z, a, labels), (logits, auxiliary))
    else:
        assert torch.autograd.gradcheck(lambda z: loss(z, None, labels), logits)


def test_soft_penalty_reaches_the_features():
    logits, auxiliary, labels = (x.detach() for x in batch())
    features = FEATURES.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: ln.soft_penalty_loss(z, logits, auxiliary, labels, lam=0.3, beta=0.7), features
    )


@pytest.mark.parametrize("kind", KINDS)
def test_limit_gradients_stay_on_their_own_network(kind):
    logits, auxiliary, labels = batch()
    classifier, second = ln.limit_losses(logits, auxiliary, labels, beta=2.0, kind=kind)
    mine, others = gradient(classifier, logits, auxiliary)
    assert mine.abs().max() > 0 and others is None
    others, mine = gradient(second, logits, auxiliary)
    assert mine.abs().max() > 0 and others is None


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_do_not_reach_the_classifier(kind, noise_std):
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


# noise in the gradient

KURTOSIS = {"gaussian": 3.0, "laplace": 6.0}


@pytest.mark.parametrize("kind", KINDS)
def test_limit_noise_is_in_the_units_of_one_example(kind):
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


@pytest.mark.parametrize("kind", KINDS)
def test_noisy_gradient_loss_adds_its_noise_after_the_mean(kind):
    size, std = 20000, 0.3
    logits, _, labels = batch(size=size)
    loss = ln.noisy_gradient_loss(logits, labels, noise_std=std, kind=kind, generator=generator(1))
    assert loss.item() == F.cross_entropy(logits, labels).item()
    noise = gradient(loss, logits)[0] - (logits.softmax(1) - F.one_hot(labels, K)).detach() / size
    assert noise.std().item() == pytest.approx(std, rel=0.02)
    assert ((noise / std) ** 4).mean().item() == pytest.approx(KURTOSIS[kind], rel=0.1)


def test_noise_comes_from_the_generator():
    logits, _, labels = batch()

    def draw(seed):
        loss = ln.noisy_gradient_loss(logits, labels, noise_std=1.0, kind="laplace", generator=generator(seed))
        return gradient(loss, logits)[0]

    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


# the optimal auxiliary prediction

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
    g = generator(seed)
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
def test_optimal_auxiliary_is_where_training_with_limit_losses_ends(kind, beta):
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
def test_optimal_auxiliary_cannot_be_improved_along_any_direction(num_classes, beta, seed, kind):
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
def test_optimal_auxiliary_of_a_batch(kind):
    p, s = (
        torch.softmax(torch.randn(shape, generator=generator(i)), -1) for i, shape in enumerate([(5, 1, 4), (3, 4)])
    )
    q = ln.optimal_auxiliary(p, s, beta=2.0, kind=kind)
    assert q.shape == (5, 3, 4) and q.dtype == torch.float64
    close(q[4, 2], ln.optimal_auxiliary(p[4, 0], s[2], beta=2.0, kind=kind), atol=1e-15)


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_fixed_points_explain_why_l1_cleans(rate):
    """Follow s <- q: L2 stays at the noisy posterior, L1 walks to the true class."""
    noisy = uniform_transition(10, rate)[0]
    q = noisy
    for _ in range(400):
        q = ln.optimal_auxiliary(noisy, q, beta=3.0, kind="laplace")
    close(q, torch.eye(10, dtype=torch.float64)[0], atol=1e-12)
    close(ln.optimal_auxiliary(noisy, noisy, beta=3.0, kind="gaussian"), noisy)


# peers


def test_early_learning_regularization_by_hand():
    loss = ln.EarlyLearningRegularization(5, 3, momentum=0.9, strength=2.0)
    means = [[0.0] * 3 for _ in range(5)]
    g = generator()
    for _ in range(3):
        logits = torch.randn(2, 3, generator=g, dtype=torch.float64)
        labels, indices = torch.tensor([2, 0]), torch.tensor([1, 4])
        expected = 0.0
        for row, y, i in zip(logits.softmax(1).tolist(), labels.tolist(), indices.tolist(), strict=True):
            means[i] = [0.9 * t + 0.1 * s for t, s in zip(means[i], row, strict=True)]
            agreement = sum(t * s for t, s in zip(means[i], row, strict=True))
            expected += (-math.log(row[y]) + 2 * math.log(1 - agreement)) / 2
        found = loss(logits, torch.stack([labels, indices], 1))
        assert found.dtype == torch.float64 and found.item() == pytest.approx(expected, abs=1e-6)
    assert loss.targets.numpy() == pytest.approx(np.array(means), abs=1e-6)


def test_early_learning_regularization_defaults_and_gradient():
    loss = ln.EarlyLearningRegularization(B, K)
    assert (loss.momentum, loss.strength) == (0.7, 3.0) and loss.targets.shape == (B, K)
    logits, _, labels = batch()
    targets = torch.stack([labels, torch.arange(B)], 1)
    (found,) = gradient(loss(logits, targets), logits)
    s, t = logits.softmax(1).detach(), loss.targets.double()
    inner = (t * s).sum(1, keepdim=True)
    through = -3 * s * (t - inner) / (1 - inner)  # the running mean counts as constant
    close(found, (s - F.one_hot(labels, K) + through) / B, atol=1e-7)


def test_early_learning_regularization_stays_finite_at_certainty():
    loss = ln.EarlyLearningRegularization(1, 2, momentum=0.0)
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[0, 0]]))
    assert value.isfinite() and gradient(value, logits)[0].isfinite().all()


def test_co_teaching_exchanges_the_easy_examples():
    a, b, labels = batch()
    loss_a, loss_b = (F.cross_entropy(x, labels, reduction="none").tolist() for x in (a, b))
    easy_a, easy_b = (sorted(range(B), key=x.__getitem__)[:4] for x in (loss_a, loss_b))
    expected = sum(loss_a[i] for i in easy_b) / 4 + sum(loss_b[i] for i in easy_a) / 4
    assert ln.co_teaching_loss(a, b, labels, forget_rate=0.3).item() == pytest.approx(expected)


def test_co_teaching_at_its_extremes():
    a, b, labels = batch()
    both = F.cross_entropy(a, labels) + F.cross_entropy(b, labels)
    close(ln.co_teaching_loss(a, b, labels, forget_rate=0.0), both)
    assert ln.co_teaching_loss(a, b, labels, forget_rate=1.0).isfinite()  # one example stays


def test_mislabel_score_is_the_distance_of_the_gradients():
    logits, auxiliary, labels = batch(torch.float32)
    s, q, y = logits.double().softmax(1), auxiliary.double().softmax(1), F.one_hot(labels, K)
    score = ln.mislabel_score(auxiliary, labels)
    assert score.shape == (B,) and score.dtype == torch.float64
    close(score, ((s - q) - (s - y)).norm(dim=1), atol=1e-14)
    sure = torch.tensor([[300.0, 0.0], [300.0, 0.0]])
    close(ln.mislabel_score(sure, torch.tensor([0, 1])), torch.tensor([0.0, math.sqrt(2)], dtype=torch.float64))


def estimate_by_loops(probabilities, percentile):
    rows = []
    for i in range(probabilities.shape[1]):
        column = probabilities[:, i].copy()
        threshold = np.percentile(column, percentile, method="higher")
        column[column >= threshold] = 0
        rows.append(probabilities[column.argmax()])
    return np.array(rows)


@pytest.mark.parametrize("percentile", [50, 97, 99.5, 100])
@pytest.mark.parametrize("size", [20, 1000])
def test_estimate_transition_as_the_official_rule_with_a_copied_column(size, percentile):
    logits = batch(torch.float32, size=size)[0].detach()
    before = logits.clone()
    found = ln.estimate_transition(logits, percentile)
    assert torch.equal(logits, before)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(estimate_by_loops(logits.double().softmax(1).numpy(), percentile), abs=1e-15)


def test_estimate_transition_recovers_the_noise_of_a_perfect_network():
    """Logits of the exact noisy posterior, blurred a little: most examples of a class predict its row of T."""
    transition = pair_transition(4, 0.3, {0: 1, 2: 3}) * 0.98 + 0.02 / 4
    classes = torch.arange(4).repeat(500)
    blur = 1e-3 * torch.randn(2000, 4, generator=generator(), dtype=torch.float64)
    found = ln.estimate_transition(transition[classes].log() + blur)
    close(found, transition, atol=5e-3)


# every loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_keep_their_dtype(name, dtype):
    loss = LOSSES[name](*batch(dtype))
    assert loss.dtype == dtype and loss.shape == ()
    assert loss.item() == pytest.approx(
        LOSSES[name](*(x.double() if x.is_floating_point() else x for x in batch(dtype))).item(), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_of_many_networks_at_once(name):
    logits, auxiliary, labels = (torch.stack(x).detach() for x in zip(*(batch(seed=i) for i in range(3)), strict=True))
    both = torch.func.grad_and_value(LOSSES[name], argnums=(0, 1))
    together = torch.vmap(both)(logits, auxiliary, labels)
    for i in range(3):
        alone = both(logits[i], auxiliary[i], labels[i])
        close(together[1][i], alone[1])
        close(together[0][0][i], alone[0][0])
        close(together[0][1][i], alone[0][1])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"dmi"}))
def test_losses_are_batch_means(name):
    logits, auxiliary, labels = batch()
    if name in ("soft_penalty", "co_teaching"):
        twice = (
            ln.soft_penalty_loss(
                FEATURES.repeat(2, 1), logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2), lam=0.3, beta=0.7
            )
            if name == "soft_penalty"
            else ln.co_teaching_loss(logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2), forget_rate=1 / 3)
        )
    else:
        twice = LOSSES[name](logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2))
    close(twice, LOSSES[name](logits, auxiliary, labels))


def elr(**options):
    return ln.EarlyLearningRegularization(5, K, **options)


Z, A, Y = (x.detach() for x in batch())
G = generator()
NAN = torch.full((B, K), float("nan"))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: ln.mae_loss(Z, Y + K), ValueError, r"labels must lie in \[0, 3\], got values from"),
        (lambda: ln.mae_loss(Z, Y - K), ValueError, r"labels must lie in \[0, 3\], got values from -"),
        (lambda: ln.mae_loss(Z, Y.double()), TypeError, "labels must be a tensor of integers, got torch.float64"),
        (lambda: ln.mae_loss(Z, Y[:3]), ValueError, r"labels must be \[6\], got shape \(3,\)"),
        (lambda: ln.mae_loss(Z[0], Y), ValueError, r"logits must be \[B, K\] with .*, got shape \(4,\)"),
        (lambda: ln.mae_loss(Z[:0], Y[:0]), ValueError, r"logits must be \[B, K\] with B >= 1.*, got shape \(0, 4\)"),
        (lambda: ln.mae_loss(Z[:, :1], Y), ValueError, r"logits must be \[B, K\] with .*K >= 2.*, got shape \(6, 1\)"),
        (lambda: ln.mae_loss(Y, Y), TypeError, "logits must be a floating tensor, got torch.int64"),
        (lambda: ln.mae_loss([[0.1, 0.2]], Y), TypeError, "logits must be a floating tensor, got list"),
        (lambda: ln.mae_loss(NAN, Y), ValueError, "logits must be finite, got NaN or infinite values"),
        (lambda: ln.mae_loss(Z / 0, Y), ValueError, "logits must be finite, got NaN or infinite values"),
        (lambda: ln.gce_loss(Z, Y, q=0), ValueError, r"q must lie in \(0, 1\], got 0"),
        (lambda: ln.gce_loss(Z, Y, q=1.5), ValueError, r"q must be finite and lie in \[0, 1\], got 1.5"),
        (lambda: ln.forward_loss(Z, Y, torch.eye(3)), ValueError, r"transition must be \[4, 4\], got shape \(3, 3\)"),
        (lambda: ln.forward_loss(Z, Y, 2 * torch.eye(K)), ValueError, "transition must sum to 1"),
        (
            lambda: ln.forward_loss(Z, Y, pair_transition(K, 1.0, {0: 1})),
            ValueError,
            "transition must lead to every class, got a column of zeros",
        ),
        (lambda: ln.dmi_loss(Z, Y + K), ValueError, "labels must lie in"),
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
            lambda: ln.noisy_gradient_loss(Z, Y, noise_std=0.1, kind="uniform", generator=G),
            ValueError,
            "kind must be one of",
        ),
        (
            lambda: ln.noisy_gradient_loss(Z, Y, noise_std=0.1, kind="laplace", generator=3),
            TypeError,
            "generator must be a torch.Generator, got int",
        ),
        (
            lambda: ln.soft_penalty_loss(FEATURES[:2], Z, A, Y, lam=1.0, beta=1.0),
            ValueError,
            r"features must be \[6, d\], got shape \(2, 3\)",
        ),
        (
            lambda: ln.soft_penalty_loss(FEATURES.long(), Z, A, Y, lam=1.0, beta=1.0),
            TypeError,
            "features must be a floating tensor, got torch.int64",
        ),
        (
            lambda: ln.soft_penalty_loss(FEATURES, Z, A, Y, lam=-1.0, beta=1.0),
            ValueError,
            "lam must be finite and lie in",
        ),
        (
            lambda: ln.co_teaching_loss(Z, A, Y, forget_rate=1.1),
            ValueError,
            r"forget_rate must be finite and lie in \[0, 1\], got 1.1",
        ),
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
        (
            lambda: ln.estimate_transition(Z, 101),
            ValueError,
            r"percentile must be finite and lie in \[0, 100\], got 101",
        ),
        (lambda: ln.estimate_transition(NAN), ValueError, "logits must be finite"),
        (lambda: ln.estimate_transition(Y), TypeError, "logits must be a floating tensor, got torch.int64"),
        (lambda: ln.estimate_transition(Z[0]), ValueError, r"logits must be \[n, K\] with K >= 2, got shape \(4,\)"),
        (lambda: ln.estimate_transition(Z[:0]), ValueError, "logits must not be empty"),
        (
            lambda: ln.estimate_transition(Z[:1]),
            ValueError,
            "logits must leave an example below the percentile of every class, got none for class 0 among 1",
        ),
        (lambda: ln.EarlyLearningRegularization(0, K), ValueError, "num_examples must be at least 1, got 0"),
        (lambda: elr(momentum=1.2), ValueError, r"momentum must be finite and lie in \[0, 1\], got 1.2"),
        (
            lambda: elr()(Z, Y),
            ValueError,
            r"labels_and_indices must be \[B, 2\], columns label and example index, got shape \(6,\)",
        ),
        (lambda: elr()(Z, torch.stack([Y, Y + 5], 1)), ValueError, r"indices must lie in \[0, 4\]"),
        (
            lambda: elr()(Z[:, :3], torch.stack([Y % 3, Y], 1)),
            ValueError,
            r"logits must have 4 columns, got shape \(6, 3\)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
