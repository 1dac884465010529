"""The losses beside LIMIT: values by hand, limiting cases, the scale of their noise, and what they refuse."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infocap import label_noise as ln

B, K = 6, 4
KINDS = ("gaussian", "laplace")

FEATURES = torch.randn(B, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


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


def test_mae_is_the_l1_distance(batch):
    logits, _, labels = batch()
    distance = (logits.softmax(1) - F.one_hot(labels, K)).abs().sum(1).mean()
    assert ln.mae_loss(logits, labels).item() == pytest.approx(distance.item(), abs=1e-14)


def test_gce_lies_between_cross_entropy_and_mae(batch):
    logits, _, labels = batch()
    assert ln.gce_loss(logits, labels, q=1).item() == pytest.approx(ln.mae_loss(logits, labels).item() / 2)
    assert ln.gce_loss(logits, labels, q=1e-9).item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-7)


def test_gce_default_is_the_literature_value(batch):
    logits, _, labels = batch()
    assert torch.equal(ln.gce_loss(logits, labels), ln.gce_loss(logits, labels, q=0.7))


def test_dmi_of_a_batch_without_some_class(batch, gradient, close):
    logits, _, _ = batch()
    loss = ln.dmi_loss(logits, torch.zeros(B, dtype=torch.int64))
    assert loss.item() == pytest.approx(6.9078, abs=1e-4)
    close(gradient(loss, logits)[0], torch.zeros(B, K, dtype=torch.float64))


def test_dmi_is_not_divided_by_the_batch_size(batch):
    logits, labels = batch(size=8)[0], torch.arange(8) % K
    once, twice = ln.dmi_loss(logits, labels), ln.dmi_loss(logits.repeat(2, 1), labels.repeat(2))
    determinants = [(-loss).exp().item() - 1e-3 for loss in (once, twice)]
    assert determinants[1] == pytest.approx(2**K * determinants[0]) and determinants[0] > 1e-3


def test_soft_penalty_is_about_the_last_layer_gradient(batch, close):
    logits, auxiliary, labels = batch()
    y, s, q = F.one_hot(labels, K), logits.softmax(1), auxiliary.softmax(1)
    outer = torch.einsum
    actual, predicted = outer("bk,bd->bkd", s - y, FEATURES), outer("bk,bd->bkd", s - q, FEATURES)
    penalty = 0.3 * (actual - predicted).square().sum((1, 2)) + 0.7 * predicted.square().sum((1, 2))
    expected = F.cross_entropy(logits, labels) + penalty.mean()
    close(ln.soft_penalty_loss(FEATURES, logits, auxiliary, labels, lam=0.3, beta=0.7), expected)


def test_soft_penalty_reaches_the_features(batch):
    logits, auxiliary, labels = (x.detach() for x in batch())
    features = FEATURES.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: ln.soft_penalty_loss(z, logits, auxiliary, labels, lam=0.3, beta=0.7), features
    )


KURTOSIS = {"gaussian": 3.0, "laplace": 6.0}


@pytest.mark.parametrize("kind", KINDS)
def test_noisy_gradient_loss_adds_its_noise_after_the_mean(generator, batch, gradient, kind):
    size, std = 20000, 0.3
    logits, _, labels = batch(size=size)
    loss = ln.noisy_gradient_loss(logits, labels, noise_std=std, kind=kind, generator=generator(1))
    assert loss.item() == F.cross_entropy(logits, labels).item()
    noise = gradient(loss, logits)[0] - (logits.softmax(1) - F.one_hot(labels, K)).detach() / size
    assert noise.std().item() == pytest.approx(std, rel=0.02)
    assert ((noise / std) ** 4).mean().item() == pytest.approx(KURTOSIS[kind], rel=0.1)


def test_noise_comes_from_the_generator(generator, batch, gradient):
    logits, _, labels = batch()

    def draw(seed):
        loss = ln.noisy_gradient_loss(logits, labels, noise_std=1.0, kind="laplace", generator=generator(seed))
        return gradient(loss, logits)[0]

    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


def test_early_learning_regularization_by_hand(generator):
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


def test_early_learning_regularization_defaults_and_gradient(batch, gradient, close):
    loss = ln.EarlyLearningRegularization(B, K)
    assert (loss.momentum, loss.strength) == (0.7, 3.0) and loss.targets.shape == (B, K)
    logits, _, labels = batch()
    targets = torch.stack([labels, torch.arange(B)], 1)
    (found,) = gradient(loss(logits, targets), logits)
    s, t = logits.softmax(1).detach(), loss.targets.double()
    inner = (t * s).sum(1, keepdim=True)
    through = -3 * s * (t - inner) / (1 - inner)  # the running mean counts as constant
    close(found, (s - F.one_hot(labels, K) + through) / B, atol=1e-7)


def test_early_learning_regularization_stays_finite_at_certainty(gradient):
    loss = ln.EarlyLearningRegularization(1, 2, momentum=0.0)
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[0, 0]]))
    assert value.isfinite() and gradient(value, logits)[0].isfinite().all()


def test_co_teaching_exchanges_the_easy_examples(batch):
    a, b, labels = batch()
    loss_a, loss_b = (F.cross_entropy(x, labels, reduction="none").tolist() for x in (a, b))
    easy_a, easy_b = (sorted(range(B), key=x.__getitem__)[:4] for x in (loss_a, loss_b))
    expected = sum(loss_a[i] for i in easy_b) / 4 + sum(loss_b[i] for i in easy_a) / 4
    assert ln.co_teaching_loss(a, b, labels, forget_rate=0.3).item() == pytest.approx(expected)


def test_co_teaching_at_its_extremes(batch, close):
    a, b, labels = batch()
    both = F.cross_entropy(a, labels) + F.cross_entropy(b, labels)
    close(ln.co_teaching_loss(a, b, labels, forget_rate=0.0), both)
    assert ln.co_teaching_loss(a, b, labels, forget_rate=1.0).isfinite()  # one example stays


def elr(**options):
    return ln.EarlyLearningRegularization(5, K, **options)


Z, A, Y = torch.ones(B, K).double(), torch.ones(B, K).double(), torch.arange(B) % K
G = torch.Generator()
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
        (lambda: ln.dmi_loss(Z, Y + K), ValueError, "labels must lie in"),
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
