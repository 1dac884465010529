"""The baselines against what they are defined by, written out in weight space."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from infocap.attribution import el2n, gauss_newton_influence, grand, influence, self_confidence, tracin
from infocap.networks import seeded
from infocap.sample_information import IllConditionedWarning, leave_one_out
from infocap.tangent import jacobian
from infocap.training import fit

N, M, WIDTH = 8, 5, 30


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(ours, theirs, relative=1e-10):
    assert ours.shape == theirs.shape and ours.dtype == torch.float64
    assert (ours - theirs).abs().max() <= relative * theirs.abs().max()


def network(outputs=3, seed=0):
    return seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double(), seed)


def convolutional(outputs=2):
    def layers():
        return nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, outputs)

    return seeded(lambda: nn.Sequential(*layers()).double(), 0)


# influence functions


def linear(outputs):
    """Jacobians ``[n, C, d]`` and a residual, and the kernels in the form that an interface of C outputs takes."""
    c = outputs or 1
    rows, rows_eval, residual = draw(N, c, WIDTH), draw(M, c, WIDTH, seed=1), draw(N, c, seed=2)
    kernel, kernel_eval = (torch.einsum("nad,mbd->namb", one, rows) for one in (rows, rows_eval))
    if outputs is None:
        return rows, residual, rows_eval, (kernel[:, 0, :, 0], residual[:, 0], kernel_eval[:, 0, :, 0])
    return rows, residual, rows_eval, (kernel, residual, kernel_eval)


def weighted(rows, residual, ridge, weights):
    """The minimizer of ``sum_i weights_i L_i + ridge/2 ||w||^2``."""
    hessian = torch.einsum("n,nad,nae->de", weights, rows, rows) + ridge * torch.eye(WIDTH).double()
    return torch.linalg.solve(hessian, torch.einsum("n,nad,na->d", weights, rows, residual))


@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("ridge", [0.4, 20.0])
def test_influence_is_the_derivative_with_respect_to_an_examples_weight(outputs, ridge):
    rows, residual, rows_eval, arguments = linear(outputs)
    ours = influence(*arguments, ridge=ridge)
    shifts, step = [], 1e-4
    for i in range(N):
        around = []
        for sign in (-1, 1):
            weights = torch.ones(N).double()
            weights[i] -= sign * step
            around.append(weighted(rows, residual, ridge, weights))
        shifts.append((around[1] - around[0]) / (2 * step))
    shifts = torch.stack(shifts)
    close(ours.weight_shift, shifts.square().sum(1), 1e-6)
    predictions = torch.einsum("mcd,nd->nmc", rows_eval, shifts)
    close(ours.prediction_shift, predictions if outputs else predictions[..., 0], 1e-6)
    close(ours.sample_information(2.0), shifts.square().sum(1) / 8, 1e-6)
    close(ours.functional_sample_information(0.5), 2 * predictions.square().sum(2).mean(1), 1e-6)


def test_influence_underestimates_by_the_leverage_and_sees_nothing_at_interpolation():
    _, _, _, arguments = linear(None)
    ours, exact = influence(*arguments, ridge=0.7), leave_one_out(*arguments, ridge=0.7)
    close(ours.weight_shift, (1 - exact.leverage) ** 2 * exact.weight_shift)
    close(ours.prediction_shift, (1 - exact.leverage)[:, None] * exact.prediction_shift)
    interpolating = influence(*arguments, ridge=0.0)
    assert (interpolating.weight_shift == 0).all() and (interpolating.prediction_shift == 0).all()
    assert leave_one_out(*arguments).weight_shift.min() > 0


@pytest.mark.parametrize("n", [N, 40])  # fewer outputs than weights, and more
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_gauss_newton_solves_the_system_among_the_weights(outputs, n):
    model = network(outputs or 1)
    assert (n * (outputs or 1) > sum(p.numel() for p in model.parameters())) == (n > N)
    inputs, eval_inputs, targets = draw(n, 4), draw(M, 4, seed=1), draw(n, outputs or 1, seed=2)
    rows, rows_eval = jacobian(model, inputs), jacobian(model, eval_inputs)
    gradients = torch.stack(
        [torch.cat([g.flatten() for g in _gradient(model, inputs[i], targets[i])]) for i in range(n)]
    )
    hessian = torch.einsum("nad,nae->de", rows, rows) / n + 0.03 * torch.eye(rows.shape[2]).double()
    shifts = torch.linalg.solve(hessian, gradients.T).T / n
    ours = gauss_newton_influence(model, inputs, targets if outputs else targets[:, 0], eval_inputs, damping=0.03)
    close(ours.weight_shift, shifts.square().sum(1))
    predictions = torch.einsum("mcd,nd->nmc", rows_eval, shifts)
    close(ours.prediction_shift, predictions if outputs else predictions[..., 0])


def test_gauss_newton_has_the_sign_and_scale_of_retraining():
    """For a linear model with all its leverages small, both removals of an example nearly agree."""
    inputs, targets = draw(200, 3), draw(200, seed=1)
    rows = torch.cat([inputs, torch.ones(200, 1).double()], 1)

    def solve(keep):
        return torch.linalg.lstsq(rows[keep], targets[keep][:, None]).solution[:, 0]

    everything = torch.arange(200)
    model = nn.Linear(3, 1).double()
    full = solve(everything)
    model.weight.data, model.bias.data = full[None, :3].clone(), full[3:].clone()
    ours = gauss_newton_influence(model, inputs, targets, inputs, damping=1e-9)
    for i in (0, 17, 101):
        shift = rows @ (solve(everything[everything != i]) - full)
        assert torch.dist(ours.prediction_shift[i], shift) < 0.08 * shift.norm()


# gradient norms


def _gradient(model, example, target):
    loss = (model(example[None])[0] - target).square().sum() / 2
    return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


def norms(model, inputs, targets):
    model.eval()
    return torch.stack(
        [sum(g.square().sum() for g in _gradient(model, x, y)) for x, y in zip(inputs, targets, strict=True)]
    )


@pytest.mark.parametrize("kind", ["mlp", "cnn", "frozen", "general"])
def test_gradient_norms(kind):
    n, outputs = 70, 2  # more than two blocks of the kernel
    model = convolutional() if kind == "cnn" else network(outputs)
    if kind == "frozen":
        model[0].weight.requires_grad_(False)
    if kind == "general":
        model.insert(1, nn.LayerNorm(6, dtype=torch.float64))
    inputs = draw(n, 1, 6, 6) if kind == "cnn" else draw(n, 4)
    targets, model = draw(n, outputs, seed=3), model.train()
    ours = grand(model, inputs, targets)
    assert model.training
    close(ours**2, norms(model, inputs, targets))


def test_tracin_sums_over_checkpoints_of_a_run():
    inputs, targets, model = draw(40, 4), draw(40, 1, seed=1), network(1)
    run = fit(
        model, inputs, targets, loss=nn.functional.mse_loss, optimizer=partial(torch.optim.SGD, lr=0.1), steps=6,
        batch_size=8, generator=torch.Generator().manual_seed(0), keep=[0, 3, 6],
    )  # fmt: skip
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = torch.zeros(40).double()
    for state in run.checkpoints.values():
        copy = network(1, seed=5)
        copy.load_state_dict(state)
        expected += 0.3 * norms(copy, inputs, targets)
    checkpoints = reversed(run.checkpoints.values())  # ends far from the model's own weights
    ours = tracin(model, checkpoints, inputs, targets[:, 0], learning_rate=0.3)
    close(ours, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training


def test_tracin_is_the_drop_of_an_examples_loss_in_a_step_on_it():
    model, inputs, targets, rate = network(), draw(6, 4), draw(6, 3, seed=1), 1e-6
    scores = tracin(model, [model.state_dict()], inputs, targets, learning_rate=rate)
    for i in range(6):
        moved = network()
        for parameter, gradient in zip(moved.parameters(), _gradient(model, inputs[i], targets[i]), strict=True):
            parameter.data -= rate * gradient
        before, after = ((net(inputs[i]) - targets[i]).square().sum().item() / 2 for net in (model, moved))
        assert before - after == pytest.approx(scores[i].item(), rel=1e-3)


def test_tracin_takes_the_buffers_of_a_checkpoint_or_else_of_the_model():
    model, inputs, targets = convolutional(), draw(5, 1, 6, 6), draw(5, 2, seed=1)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    own = tracin(model, [dict(model.named_parameters())], inputs, targets, learning_rate=1.0)
    close(own, norms(model, inputs, targets))
    state["1.running_var"] += 3
    model.load_state_dict(state)
    expected = norms(model, inputs, targets)
    close(tracin(convolutional(), [state], inputs, targets, learning_rate=1.0), expected)
    assert (expected / own - 1).abs().min() > 1e-2


def test_el2n_and_its_relation_to_grand():
    outputs, targets = draw(6, 3), draw(6, 3, seed=1)
    close(el2n(outputs, targets), (outputs - targets).norm(dim=1))
    close(el2n(outputs[:, 0].float(), targets[:, 0].float()), (outputs - targets)[:, 0].abs(), 1e-6)
    model = nn.Linear(4, 3, bias=False).double()  # here the gradient is error times input
    inputs = draw(6, 4, seed=2)
    errors = el2n(model(inputs).detach(), targets)
    close(grand(model, inputs, targets), errors * inputs.norm(dim=1))


# self-confidence


@pytest.mark.parametrize("folds", [2, 5, 23])
def test_self_confidence_is_a_loop_over_folds(folds):
    n, seed = 23, 4
    inputs, labels = draw(n, 4), torch.arange(n) % 3
    optimizer = partial(torch.optim.Adam, lr=0.02)
    options = {"steps": 9, "batch_size": 5, "optimizer": optimizer}
    ours = self_confidence(network, inputs, labels.int(), folds=folds, seed=seed, **options)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    sizes = [n // folds + (k < n % folds) for k in range(folds)]
    expected = torch.full((n,), torch.nan).double()
    for k, size in enumerate(sizes):
        held_out = order[sum(sizes[:k]) : sum(sizes[: k + 1])]
        assert len(held_out) == size
        rest = [i for i in range(n) if i not in held_out]
        run = fit(
            seeded(network, seed), inputs[rest], labels[rest], loss=cross_entropy,
            generator=torch.Generator().manual_seed(seed + k), **options,
        )  # fmt: skip
        for i in held_out:
            expected[i] = run.model(inputs[i]).softmax(0)[labels[i]].item()
    close(ours, expected)


def test_self_confidence_finds_a_wrong_label():
    inputs = draw(60, 4)
    labels = (inputs[:, 0] > 0).long()
    wrong = inputs[:, 0].abs().argsort(descending=True)[:4]
    labels[wrong] = 1 - labels[wrong]
    scores = self_confidence(
        lambda: network(2), inputs, labels, steps=60, batch_size=48, optimizer=partial(torch.optim.Adam, lr=0.02)
    )
    assert set(scores.argsort()[:4].tolist()) == set(wrong.tolist())


# errors

X, Y = draw(4, 4), draw(4, 3)
EYE = torch.eye(3)
CONFIDENCE = {"steps": 1, "batch_size": 2, "optimizer": torch.optim.SGD, "folds": 2}
ERRORS = {
    "kernel must be symmetric": lambda: influence(torch.ones(3, 3).triu(), torch.ones(3), EYE, ridge=1.0),
    "singular matrix .* ridge 0; accepted: a larger ridge": (
        lambda: influence(torch.ones(3, 3), torch.ones(3), torch.ones(3, 3), ridge=0.0)
    ),
    "ridge must be finite and lie in": lambda: influence(EYE, torch.ones(3), EYE, ridge=-1.0),
    "damping must be positive, got 0": lambda: gauss_newton_influence(network(), X, Y, X, damping=0.0),
    "singular matrix .*; accepted: a larger damping": (
        lambda: gauss_newton_influence(network(), X[[0, 0, 1, 1]], Y, X, damping=1e-20)
    ),
    "singular matrix .* accepted: a larger damping": (  # among the weights, as what follows
        lambda: gauss_newton_influence(nn.Linear(2, 1).double(), 0 * X[:, :2], Y[:, 0], X[:, :2], damping=1e-20)
    ),
    "residual must be finite": (
        lambda: gauss_newton_influence(nn.Linear(2, 1).double(), X[:, :2], Y[:, 0] * torch.nan, X[:, :2], damping=1.0)
    ),
    r"eval_inputs: got shape \[4, 4\]; accepted: \[m, \*\[2\]\]": (
        lambda: gauss_newton_influence(nn.Linear(2, 1).double(), X[:, :2], Y[:, 0], X, damping=1.0)
    ),
    r"targets: got shape \[4, 2\]; accepted: \[4, 3\], as the outputs": lambda: grand(network(), X, Y[:, :2]),
    r"targets: got shape \[4\]; accepted: \[4, 3\]": (
        lambda: gauss_newton_influence(network(), X, Y[:, 0], X, damping=1.0)
    ),
    "targets: got torch.int64; accepted: .*one-hot": lambda: tracin(
        network(), [network().state_dict()], X, torch.arange(4), learning_rate=1.0
    ),
    "checkpoints: got none": lambda: tracin(network(), [], X, Y, learning_rate=1.0),
    "checkpoints: number 0 lacks '0.bias'; accepted: the names": lambda: tracin(
        network(), [{"0.weight": torch.ones(6, 4)}], X, Y, learning_rate=1.0
    ),
    "checkpoints: number 1 has '7.weight'; accepted: the names": lambda: tracin(
        network(), [network().state_dict(), network().state_dict() | {"7.weight": EYE}], X, Y, learning_rate=1.0
    ),
    "learning_rate must be finite": lambda: tracin(network(), [], X, Y, learning_rate=-1.0),
    r"targets: got shape \[3\] for outputs \[3, 3\]": lambda: el2n(EYE, torch.ones(3)),
    "outputs must be finite": lambda: el2n(EYE * torch.nan, EYE),
    "targets: got torch.int64": lambda: el2n(EYE, torch.eye(3).long()),
    "folds: got 5; accepted: 2 to 4": lambda: self_confidence(
        network, X, torch.arange(4) % 3, **CONFIDENCE | {"folds": 5}
    ),
    "folds must be at least 2, got 1": lambda: self_confidence(
        network, X, torch.arange(4) % 3, **CONFIDENCE | {"folds": 1}
    ),
    r"labels must lie in \[0, 2\], got values from 0 to 3": lambda: self_confidence(
        network, X, torch.arange(4), **CONFIDENCE
    ),
    "labels: got 3; accepted: 4": lambda: self_confidence(network, X, torch.arange(3), **CONFIDENCE),
    "labels must be integers": lambda: self_confidence(network, X, torch.ones(4), **CONFIDENCE),
}


@pytest.mark.parametrize(("message", "call"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


ILL = {
    "influence": lambda: influence(torch.ones(3, 3), torch.ones(3), torch.ones(3, 3), ridge=1e-13),
    "through the kernel": lambda: gauss_newton_influence(network(), X[[0, 0, 1, 1]], Y, X, damping=1e-13),
    "among the weights": (
        lambda: gauss_newton_influence(nn.Linear(2, 1).double(), X[:, [0, 0]], Y[:, 0], X[:, :2], damping=1e-13)
    ),
}


@pytest.mark.parametrize("name", ILL)
def test_the_warning_of_lost_digits_names_the_callers_line(name):
    with pytest.warns(IllConditionedWarning, match="digits are left") as caught:
        ILL[name]()
    lines, first = inspect.getsourcelines(ILL[name])
    assert [warning.filename for warning in caught] == [__file__]
    assert caught[0].lineno in range(first, first + len(lines))
