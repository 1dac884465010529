"""Real retraining against a plain loop, against the closed form, and the verdict on a linearization."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from infocap.networks import seeded
from infocap.sample_information import linearization_quality, retrain_leave_one_out, sample_scores
from infocap.tangent import jacobian, ntk

N, M = 9, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(ours, theirs, relative=1e-10):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= relative * theirs.abs().max()


def mlp(outputs=1, width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, outputs)).double()


def cnn(outputs=1):
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, outputs)
    model = nn.Sequential(*layers).double()
    model[1].running_mean += 0.3
    return model


def data(outputs=1):
    return draw(N, 1, 4, 4), draw(N, outputs, seed=1), draw(M, 1, 4, 4, seed=2)


def plain(model, inputs, targets, rate, steps, decay):
    """Gradient descent on the mean of half squared errors, with decay towards the start; in evaluation mode."""
    model.eval()
    start = [p.detach().clone() for p in model.parameters()]
    for _ in range(steps):
        loss = 0
        for example, target in zip(inputs, targets, strict=True):
            loss = loss + (model(example[None])[0] - target).square().sum() / (2 * len(inputs))
        for parameter, anchor in zip(model.parameters(), start, strict=True):
            loss = loss + decay / 2 * (parameter - anchor).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    return model


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("decay", [0.0, 0.7])
@pytest.mark.parametrize("outputs", [None, 1, 2])
@pytest.mark.parametrize("build", [mlp, cnn])
def test_retraining_is_a_plain_loop(build, outputs, decay):
    inputs, targets, eval_inputs = data(outputs or 1)
    make, indices = partial(build, outputs or 1), [8, 0, 5]
    ours = retrain_leave_one_out(
        make, inputs, targets if outputs else targets[:, 0], eval_inputs, indices,
        learning_rate=0.1, steps=12, weight_decay=decay, seed=3,
    )  # fmt: skip
    full = plain(seeded(make, 3), inputs, targets, 0.1, 12, decay)
    expected = full(eval_inputs).detach()
    close(ours.outputs, expected)
    assert list(ours.weights) == list(full.state_dict())
    for name, tensor in full.state_dict().items():
        close(ours.weights[name], tensor)
    for place, i in enumerate(indices):
        keep = [k for k in range(N) if k != i]
        left = plain(seeded(make, 3), inputs[keep], targets[keep], 0.1, 12, decay)
        close(ours.weight_shift[place], (flat(left) - flat(full)).square().sum())
        shift = left(eval_inputs).detach() - expected
        close(ours.prediction_shift[place], shift if outputs else shift[:, 0], 1e-9)


def test_more_examples_than_are_trained_together():
    inputs, targets, eval_inputs = data()
    options = {"learning_rate": 0.1, "steps": 3}
    every = retrain_leave_one_out(mlp, inputs, targets, eval_inputs, torch.arange(N), **options)
    assert every.weight_shift.shape == (N,) and every.prediction_shift.shape == (N, M, 1)
    for i in (0, 8):  # the first of one call and the only one of another
        one = retrain_leave_one_out(mlp, inputs, targets, eval_inputs, [i], **options)
        close(one.weight_shift, every.weight_shift[[i]])
        close(one.prediction_shift, every.prediction_shift[[i]])


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    retrain_leave_one_out(mlp, *data(), [1], learning_rate=0.1, steps=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("steps", [5, 100])
def test_the_closed_form_is_the_retraining_of_a_linear_model(steps, outputs):
    """The book's central identity, by another route than the weight-space oracle of the closed form's own tests."""
    inputs, targets, eval_inputs = data(outputs)
    build, rate = lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, outputs)).double(), 0.05
    real = retrain_leave_one_out(build, inputs, targets, eval_inputs, range(N), learning_rate=rate, steps=steps)
    closed = sample_scores(
        seeded(build, 0), inputs, targets, eval_inputs,
        learning_rate=rate / N, steps=steps, leave_out_factor=N / (N - 1),
    )  # fmt: skip
    close(closed.weight_shift, real.weight_shift, 1e-8)
    close(closed.prediction_shift, real.prediction_shift, 1e-8)


def test_with_weight_decay_the_closed_form_is_off_by_what_it_documents():
    """It keeps n times the decay in the left-out runs, where a real one has n - 1 times: a few percent, here."""
    inputs, targets, eval_inputs = data()
    build, rate, decay = lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double(), 0.05, 0.5
    real = retrain_leave_one_out(
        build, inputs, targets, eval_inputs, range(N), learning_rate=rate, steps=60, weight_decay=decay
    )
    options = {"learning_rate": rate / N, "steps": 60, "leave_out_factor": N / (N - 1)}
    closed = sample_scores(seeded(build, 0), inputs, targets, eval_inputs, ridge=N * decay, **options)
    error = (closed.prediction_shift - real.prediction_shift).norm() / real.prediction_shift.norm()
    assert 1e-3 < error < 0.1


# the verdict


def quality(model, **options):
    inputs, targets, eval_inputs = data(model[-1].out_features)
    return linearization_quality(model, inputs, targets, eval_inputs, **{"learning_rate": 0.05, "steps": 50} | options)


def largest(model):
    """Eigenvalue of the mean Gauss-Newton matrix."""
    return torch.linalg.eigvalsh(ntk(model, data()[0])[:, 0, :, 0])[-1].item() / N


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_linear_model_is_its_own_linearization(decay):
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double(), 0)
    found = quality(model, weight_decay=decay)
    assert found.trustworthy and found.prediction_error < 1e-10 and found.kernel_change < 1e-12
    assert found.relative_move > 0.1
    assert str(found).startswith("scores of the linearized network can be trusted (prediction error")


@pytest.mark.parametrize("build", [mlp, cnn])
def test_the_four_numbers(build):
    inputs, targets, eval_inputs = data()
    model = seeded(build, 0).train()
    before = copy.deepcopy(model.state_dict())
    found = quality(model, weight_decay=0.3)
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    trained = plain(copy.deepcopy(model), inputs, targets, 0.05, 50, 0.3)
    model.eval()
    assert found.relative_move == pytest.approx(float((flat(trained) - flat(model)).norm() / flat(model).norm()))
    kernel = ntk(model, inputs)
    assert found.kernel_change == pytest.approx(float((ntk(trained, inputs) - kernel).norm() / kernel.norm()))
    assert found.stability == pytest.approx(0.05 * (largest(model) + 0.3))
    # the linearized network, trained in its weights
    rows, residual = jacobian(model, inputs)[:, 0], (targets - model(inputs).detach())[:, 0]
    shift = torch.zeros(rows.shape[1]).double()
    for _ in range(50):
        shift = shift - 0.05 * (rows.T @ (rows @ shift - residual) / N + 0.3 * shift)
    change = (trained(eval_inputs) - model(eval_inputs)).detach()[:, 0]
    error = (jacobian(model, eval_inputs)[:, 0] @ shift - change).norm() / change.norm()
    assert error > 0.01 and found.prediction_error == pytest.approx(float(error), rel=1e-6)


def test_a_narrow_network_trained_for_long_is_not_trusted_and_a_wide_one_is():
    models = [seeded(partial(mlp, 1, width), 0) for width in (4, 1024)]
    narrow, wide = (quality(model, learning_rate=0.5 / largest(model), steps=200) for model in models)
    assert not narrow.trustworthy and narrow.prediction_error > 0.2
    assert "not to be trusted: widen the network or train it less" in str(narrow)
    assert wide.trustworthy and wide.prediction_error < 0.05
    assert wide.relative_move < narrow.relative_move and wide.kernel_change < narrow.kernel_change


def test_beyond_stability():
    """Twice over: gradient descent that diverges to infinity, and a short run that has not yet."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double(), 0)
    short = quality(model, learning_rate=2.5 / largest(model), steps=3)
    assert short.stability == pytest.approx(2.5) and not short.trustworthy
    assert short.prediction_error == math.inf and math.isfinite(short.relative_move)
    far = quality(model, learning_rate=40 / largest(model), steps=250)
    assert (far.relative_move, far.prediction_error, far.kernel_change) == (math.inf,) * 3
    assert "not to be trusted" in str(far) and "stability 40/2" in str(far)
    assert quality(model, learning_rate=1.9 / largest(model), steps=3).trustworthy


def test_nothing_to_learn():
    model = seeded(mlp, 0)
    inputs, _, eval_inputs = data()
    found = linearization_quality(model, inputs, model(inputs).detach(), eval_inputs, learning_rate=0.1, steps=5)
    assert found.trustworthy and found.relative_move < 1e-12


# errors

X, Y, V = data()
RUN = {"learning_rate": 0.1, "steps": 2}
ERRORS = {
    r"indices: got \[\]; accepted: a list of rows from 0 to 8, not empty": (
        lambda: retrain_leave_one_out(mlp, X, Y, V, [], **RUN)
    ),
    r"indices: got \[0, 9\]; accepted": lambda: retrain_leave_one_out(mlp, X, Y, V, [0, 9], **RUN),
    r"indices: got \[-1\]; accepted": lambda: retrain_leave_one_out(mlp, X, Y, V, [-1], **RUN),
    "indices: got 3; accepted: a list": lambda: retrain_leave_one_out(mlp, X, Y, V, 3, **RUN),
    "indices must be integers, got torch.float64": lambda: retrain_leave_one_out(mlp, X, Y, V, [0.5], **RUN),
    "targets: got torch.int64; accepted: .*one-hot": lambda: retrain_leave_one_out(mlp, X, Y.long(), V, [0], **RUN),
    r"targets: got shape \[9\]; accepted: \[9, 2\], as the outputs": (
        lambda: retrain_leave_one_out(partial(mlp, 2), X, Y[:, 0], V, [0], **RUN)
    ),
    r"targets: got shape \[8, 1\]; accepted: \[9, 1\]": lambda: retrain_leave_one_out(mlp, X, Y[1:], V, [0], **RUN),
    "weight_decay must be finite": lambda: retrain_leave_one_out(mlp, X, Y, V, [0], weight_decay=-1.0, **RUN),
    "steps: got 0; accepted: 1 or more": lambda: retrain_leave_one_out(mlp, X, Y, V, [0], learning_rate=0.1, steps=0),
    "targets: got torch.int64": lambda: linearization_quality(mlp(), X, Y.long(), V, **RUN),
    "targets: got list": lambda: linearization_quality(mlp(), X, Y.tolist(), V, **RUN),
    r"targets: got shape \[9\]; accepted: \[9, 3\]": lambda: linearization_quality(mlp(3), X, Y[:, 0], V, **RUN),
    "weight_decay must be finite and": lambda: linearization_quality(mlp(), X, Y, V, weight_decay=-1.0, **RUN),
    "inputs: got an empty set": lambda: linearization_quality(mlp(), X, Y, V[:0], **RUN),
}


@pytest.mark.parametrize(("message", "call"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
