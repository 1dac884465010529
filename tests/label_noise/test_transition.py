"""Forward correction against cross-entropy, and its estimate of the corruption against loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infocap import label_noise as ln
from infocap.noise import pair_transition

B, K = 6, 4


def test_forward_loss_without_noise_is_cross_entropy(batch, close):
    logits, _, labels = batch()
    close(ln.forward_loss(logits, labels, torch.eye(K)), F.cross_entropy(logits, labels))


def test_forward_loss_teaches_a_saturated_network(gradient, close):
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([1])
    (g,) = gradient(ln.forward_loss(logits, labels, pair_transition(3, 0.2, {2: 0})), logits)
    close(g, torch.tensor([[1.0, -1.0, 0.0]]), atol=1e-6)


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
def test_estimate_transition_as_the_official_rule_with_a_copied_column(batch, size, percentile):
    logits = batch(torch.float32, size=size)[0].detach()
    before = logits.clone()
    found = ln.estimate_transition(logits, percentile)
    assert torch.equal(logits, before)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(estimate_by_loops(logits.double().softmax(1).numpy(), percentile), abs=1e-15)


def test_estimate_transition_recovers_the_noise_of_a_perfect_network(generator, close):
    """Logits of the exact noisy posterior, blurred a little: most examples of a class predict its row of T."""
    transition = pair_transition(4, 0.3, {0: 1, 2: 3}) * 0.98 + 0.02 / 4
    classes = torch.arange(4).repeat(500)
    blur = 1e-3 * torch.randn(2000, 4, generator=generator(), dtype=torch.float64)
    found = ln.estimate_transition(transition[classes].log() + blur)
    close(found, transition, atol=5e-3)


Z, Y = torch.ones(B, K).double(), torch.arange(B) % K
NAN = torch.full((B, K), float("nan"))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: ln.forward_loss(Z, Y, torch.eye(3)), ValueError, r"transition must be \[4, 4\], got shape \(3, 3\)"),
        (lambda: ln.forward_loss(Z, Y, 2 * torch.eye(K)), ValueError, "transition must sum to 1"),
        (
            lambda: ln.forward_loss(Z, Y, pair_transition(K, 1.0, {0: 1})),
            ValueError,
            "transition must lead to every class, got a column of zeros",
        ),
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
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
