"""Smoothed sample information against divergences of Gaussians, and the noise of SGD against running it."""

import math

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from infocap.networks import seeded
from infocap.sample_information import leave_one_out, sample_scores, sgd_covariance, smooth_sample_information
from infocap.tangent import jacobian

D = 6


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance(d=D, rank=None, seed=0):
    root = draw(d, rank or 2 * d, seed=seed)
    return root @ root.T


def close(ours, theirs, relative=1e-10):
    assert ours.shape == theirs.shape and ours.dtype == torch.float64
    assert (ours - theirs).abs().max() <= relative * theirs.abs().max()


# smooth sample information


def test_it_is_the_divergence_of_two_gaussians():
    difference, sigma = draw(4, 3, D), covariance(seed=1)
    ours = smooth_sample_information(difference, sigma)
    close(ours, (difference * torch.linalg.solve(sigma, difference[..., None])[..., 0]).sum(-1) / 2)
    mean = draw(D, seed=2)
    close(ours, kl_divergence(MultivariateNormal(mean + difference, sigma), MultivariateNormal(mean, sigma)))
    close(smooth_sample_information(difference[0, 0], sigma), ours[0, 0])
    close(smooth_sample_information(difference.float(), sigma.float()), ours, 1e-4)


def test_it_is_the_mean_log_ratio_of_samples():
    difference, sigma = 0.3 * draw(D), covariance(seed=1)
    with_example, without = (MultivariateNormal(mean, sigma) for mean in (difference, torch.zeros(D).double()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = with_example.sample((20_000,))
    ratios = with_example.log_prob(samples) - without.log_prob(samples)
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(smooth_sample_information(difference, sigma) - ratios.mean()) < 4 * error
    assert error < 0.1 * ratios.mean()


@pytest.mark.parametrize("rank", [1, 3])
def test_a_singular_covariance_is_infinite_off_its_range_and_exact_on_it(rank):
    root = draw(D, rank, seed=1)
    sigma, inside = root @ root.T, (root @ draw(rank, 5, seed=2)).T
    ours = smooth_sample_information(inside, sigma)
    close(ours, (inside @ torch.linalg.pinv(sigma) * inside).sum(1) / 2)
    off = inside + 1e-3 * draw(5, D, seed=3)
    assert (smooth_sample_information(off, sigma) == math.inf).all()
    assert torch.equal(
        smooth_sample_information(torch.stack([0 * off[0], off[0]]), 0 * sigma), torch.tensor([0.0, math.inf]).double()
    )
    close(smooth_sample_information(inside[0] * 0, sigma)[None], torch.zeros(1).double())


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_units_of_the_weights_play_no_part(seed, scale):
    difference, sigma, change = draw(3, D, seed=seed), covariance(seed=seed + 1), draw(D, D, seed=seed + 2)
    ours = smooth_sample_information(difference, sigma)
    rotation = torch.linalg.qr(change)[0] * scale
    close(smooth_sample_information(difference @ rotation.T, rotation @ sigma @ rotation.T), ours, 1e-7)
    close(smooth_sample_information(scale * difference, sigma), scale**2 * ours)


# the steady state of SGD


@pytest.mark.parametrize("rank", [None, 2], ids=["full", "singular"])
def test_it_solves_the_lyapunov_equation(rank):
    hessian, noise = covariance() + torch.eye(D).double(), covariance(rank=rank, seed=1)
    ours = sgd_covariance(hessian, noise, learning_rate=0.3, batch_size=7)
    close(ours, torch.from_numpy(scipy.linalg.solve_lyapunov(hessian.numpy(), (0.3 / 7 * noise).numpy())))
    close(hessian @ ours + ours @ hessian, 0.3 / 7 * noise)
    assert torch.equal(ours, ours.T)
    assert torch.linalg.eigvalsh(ours)[0] > -1e-15


def test_where_noise_and_curvature_commute():
    hessian = covariance() + torch.eye(D).double()
    noise = hessian @ hessian + 3 * hessian
    close(sgd_covariance(hessian, noise, learning_rate=0.1, batch_size=4), 0.1 / 8 * noise @ hessian.inverse())


def test_langevin_noise_gives_the_metric_of_the_hessian():
    hessian, difference = covariance() + torch.eye(D).double(), draw(3, D, seed=4)
    sigma = sgd_covariance(hessian, 2.0 * torch.eye(D), learning_rate=0.1, batch_size=4)
    expected = 4 / (0.1 * 2.0) * (difference @ hessian * difference).sum(1)
    close(smooth_sample_information(difference, sigma), expected)


def test_a_flat_direction_without_noise_stays_where_it_is():
    basis = torch.linalg.qr(draw(D, D))[0]
    curved, flat = basis[:, :4], basis[:, 4:]
    inner, noise = covariance(4) + torch.eye(4).double(), covariance(4, seed=1)
    ours = sgd_covariance(curved @ inner @ curved.T, curved @ noise @ curved.T, learning_rate=0.1, batch_size=2)
    close(ours, curved @ sgd_covariance(inner, noise, learning_rate=0.1, batch_size=2) @ curved.T)
    assert (ours @ flat).abs().max() < 1e-15
    assert (sgd_covariance(torch.zeros(2, 2), torch.zeros(2, 2), learning_rate=0.1, batch_size=2) == 0).all()
    with pytest.raises(ValueError, match="along noisy directions; weight decay helps"):
        sgd_covariance(curved @ inner @ curved.T, noise_everywhere(), learning_rate=0.1, batch_size=2)


def noise_everywhere():
    return covariance(seed=3)


def test_stochastic_gradient_descent_settles_there():
    """Chains of real SGD on a regression with two weights, batches drawn with replacement, long after the start."""
    n, batch_size, rate, decay, chains = 40, 5, 0.02, 0.3, 20_000
    rows, targets = draw(n, 2) * torch.tensor([1.0, 0.6]).double(), draw(n, seed=1)
    hessian = rows.T @ rows / n + decay * torch.eye(2).double()
    minimum = torch.linalg.solve(hessian, rows.T @ targets / n)
    gradients = rows * (rows @ minimum - targets)[:, None] + decay * minimum
    noise = gradients.T @ gradients / n
    predicted = sgd_covariance(hessian, noise, learning_rate=rate, batch_size=batch_size)

    generator = torch.Generator().manual_seed(0)
    slowest = torch.linalg.eigvalsh(hessian)[0].item()
    weights = minimum.repeat(chains, 1)
    for _ in range(int(3 / (rate * slowest))):  # e^-6 of the covariance is still missing
        drawn = torch.randint(n, (chains, batch_size), generator=generator)
        x = rows[drawn]
        errors = (x @ weights[:, :, None])[..., 0] - targets[drawn]
        weights = weights - rate * ((x * errors[..., None]).mean(1) + decay * weights)
    measured = torch.cov(weights.T)
    standard_error = ((predicted.diagonal()[:, None] * predicted.diagonal() + predicted**2) / chains).sqrt()
    # in continuous time neither the step's length nor that noise grows away from the minimum is seen: order rate H
    bias = rate * torch.linalg.eigvalsh(hessian)[-1] * predicted.diagonal().max()
    assert ((measured - predicted).abs() < 4 * standard_error + bias).all()
    assert (4 * standard_error + bias).max() < 0.1 * predicted.diagonal().max()


# F-SI as SI in the metric of the Fisher matrix


@pytest.mark.parametrize("outputs", [1, 2])
def test_functional_information_is_the_information_for_inverse_fisher_noise(outputs):
    n, m, ridge = 7, 5 * D, 0.5
    rows, rows_eval, residual = draw(n, outputs, D), draw(m, outputs, D, seed=1), draw(n, outputs, seed=2)
    functional, differences = both(rows, rows_eval, residual, ridge)
    fisher = torch.einsum("mcd,mce->de", rows_eval, rows_eval) / m
    close(smooth_sample_information(differences, torch.linalg.inv(fisher)), functional, 1e-9)
    close(smooth_sample_information(differences, 4 * torch.linalg.inv(fisher)), functional / 4, 1e-9)


def test_a_singular_fisher_matrix_forgives_what_no_prediction_shows():
    n, m, ridge = 7, 3, 0.5
    rows, rows_eval, residual = draw(n, 1, D), draw(m, 1, D, seed=1), draw(n, 1, seed=2)
    functional, differences = both(rows, rows_eval, residual, ridge)
    fisher = torch.einsum("mcd,mce->de", rows_eval, rows_eval) / m
    assert torch.linalg.matrix_rank(fisher) == m
    seen = torch.linalg.pinv(rows_eval[:, 0]) @ rows_eval[:, 0]
    close(smooth_sample_information(differences @ seen, torch.linalg.pinv(fisher)), functional, 1e-9)
    assert (smooth_sample_information(differences, torch.linalg.pinv(fisher)) == math.inf).all()
    floored = torch.linalg.inv(fisher + 1e-3 * torch.eye(D).double())
    close(smooth_sample_information(differences, floored), functional + 1e-3 * differences.square().sum(1) / 2, 1e-8)


def both(rows, rows_eval, residual, ridge):
    """F-SI through kernels, and ``w_-i - w`` through normal equations."""
    kernel, kernel_eval = (torch.einsum("nad,mbd->namb", one, rows) for one in (rows, rows_eval))
    functional = leave_one_out(kernel, residual, kernel_eval, ridge=ridge).functional_sample_information()

    def solve(keep):
        x, y = rows[keep].flatten(0, 1), residual[keep].flatten()
        return torch.linalg.solve(x.T @ x + ridge * torch.eye(D).double(), x.T @ y)

    everything = torch.arange(len(rows))
    full = solve(everything)
    return functional, torch.stack([solve(everything[everything != i]) - full for i in range(len(rows))])


# one call for any module


def mlp(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, outputs))


def cnn(outputs):
    layers = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, outputs)
    return nn.Sequential(*layers)


OPTIONS = {
    "ridge": {"ridge": 0.5},
    "steps": {"learning_rate": 1e-3, "steps": 40, "leave_out_factor": 8 / 7},
    "groups": {"time": 0.01, "groups": torch.tensor([0, 0, 1, 2, 3, 3, 3, 9])},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("build", [mlp, cnn])
def test_sample_scores_is_kernel_and_leave_one_out(build, outputs, options):
    model = seeded(lambda: build(outputs or 1).double(), 0).train()
    inputs, eval_inputs, targets = draw(8, 1, 6, 6), draw(5, 1, 6, 6, seed=1), draw(8, outputs or 1, seed=2)
    ours = sample_scores(model, inputs, targets if outputs else targets[:, 0], eval_inputs, **options)
    assert model.training
    model.eval()
    rows, rows_eval = jacobian(model, inputs), jacobian(model, eval_inputs)
    kernel, kernel_eval = (torch.einsum("nad,mbd->namb", one, rows) for one in (rows, rows_eval))
    residual = targets - model(inputs).detach()
    if outputs is None:
        kernel, residual, kernel_eval = kernel[:, 0, :, 0], residual[:, 0], kernel_eval[:, 0, :, 0]
    by_hand = leave_one_out(kernel, residual, kernel_eval, **options)
    for name in ("residual", "weight_shift", "prediction_shift"):
        close(getattr(ours, name), getattr(by_hand, name), 1e-8)


# errors

EYE = torch.eye(3)
RATES = {"learning_rate": 0.1, "batch_size": 2}
X = torch.ones(4, 36)
ERRORS = {
    r"covariance must be \[d, d\], got shape \(3, 2\)": lambda: smooth_sample_information(EYE[:, :2], EYE[:, :2]),
    r"weight_difference must be \[..., 3\], got shape \(2,\)": lambda: smooth_sample_information(EYE[0, :2], EYE),
    r"weight_difference must be \[..., 3\], got shape \(\)": lambda: smooth_sample_information(1.0, EYE),
    "^covariance must be symmetric": lambda: smooth_sample_information(EYE[0], torch.ones(3, 3).triu()),
    "^covariance must be positive semi-definite, got an eigenvalue of -1": lambda: smooth_sample_information(EYE, -EYE),
    "covariance must be finite": lambda: smooth_sample_information(EYE, EYE * math.nan),
    "weight_difference must be finite": lambda: smooth_sample_information(EYE * math.inf, EYE),
    "hessian must be symmetric": lambda: sgd_covariance(torch.ones(3, 3).triu(), EYE, **RATES),
    r"hessian must be \[d, d\]": lambda: sgd_covariance(EYE[0], EYE, **RATES),
    "hessian must be positive definite for a steady state, got an eigenvalue of -1": (
        lambda: sgd_covariance(torch.diag(torch.tensor([-1.0, 2.0, 3.0])), EYE, **RATES)
    ),
    r"gradient_covariance must be \[3, 3\], got shape \(2, 2\)": lambda: sgd_covariance(EYE, EYE[:2, :2], **RATES),
    "gradient_covariance must be positive semi-definite": lambda: sgd_covariance(EYE, -EYE, **RATES),
    "learning_rate must be positive, got 0": lambda: sgd_covariance(EYE, EYE, learning_rate=0.0, batch_size=2),
    "learning_rate must be finite": lambda: sgd_covariance(EYE, EYE, learning_rate=-1.0, batch_size=2),
    "batch_size must be at least 1": lambda: sgd_covariance(EYE, EYE, learning_rate=0.1, batch_size=0),
    "batch_size must be an integer": lambda: sgd_covariance(EYE, EYE, learning_rate=0.1, batch_size=1.5),
    "targets: got torch.int64; accepted: a floating tensor, such as one-hot": (
        lambda: sample_scores(mlp(3), X, torch.tensor([0, 1, 2, 0]), X)
    ),
    "targets: got list; accepted: a floating tensor": lambda: sample_scores(mlp(1), X, [0.0, 1.0, 2.0, 0.0], X),
    r"targets: got shape \[4\]; accepted: \[4, 3\], as the outputs": (
        lambda: sample_scores(mlp(3), X, torch.ones(4), X)
    ),
    r"targets: got shape \[3, 1\]; accepted: \[4, 1\]": lambda: sample_scores(mlp(1), X, torch.ones(3, 1), X),
    "residual must be finite": lambda: sample_scores(mlp(1), X, torch.full((4,), math.nan), X, ridge=1.0),
    "kernel: got a singular matrix": lambda: sample_scores(mlp(1), X, torch.ones(4), X),
}


@pytest.mark.parametrize(("message", "call"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
