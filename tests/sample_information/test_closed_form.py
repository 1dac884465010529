import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from infocap.sample_information import IllConditionedWarning, closed_form, leave_one_out, train_linearized

N, M, WIDTH = 9, 4, 23


def problem(outputs=None, seed=0, n=N):
    """Jacobians and a residual: what the kernels are made of."""
    generator = torch.Generator().manual_seed(seed)
    c = outputs or 1
    jacobian, jacobian_eval = (torch.randn(k, c, WIDTH, generator=generator, dtype=torch.float64) for k in (n, M))
    residual = torch.randn(n, c, generator=generator, dtype=torch.float64)
    return jacobian, residual, jacobian_eval


def kernels(jacobian, jacobian_eval, outputs):
    kernel = torch.einsum("nad,mbd->namb", jacobian, jacobian)
    kernel_eval = torch.einsum("nad,mbd->namb", jacobian_eval, jacobian)
    return (kernel, kernel_eval) if outputs else (kernel[:, 0, :, 0], kernel_eval[:, 0, :, 0])


def trained(jacobian, residual, ridge, learning_rate=None, steps=None, time=None):
    """Weights of the linear model, trained in weight space: the oracle knows of no kernel."""
    rows, targets = jacobian.flatten(0, 1), residual.flatten()
    hessian = rows.T @ rows + ridge * torch.eye(WIDTH, dtype=torch.float64)
    gradient = rows.T @ targets
    if steps is not None:
        weights = torch.zeros(WIDTH, dtype=torch.float64)
        for _ in range(steps):
            weights = weights - learning_rate * (hessian @ weights - gradient)
        return weights
    if time is not None:  # exp of the flow dw/ds = gradient - hessian w
        flow = torch.zeros(WIDTH + 1, WIDTH + 1, dtype=torch.float64)
        flow[:-1, :-1], flow[:-1, -1] = -hessian, gradient
        return torch.linalg.matrix_exp(time * flow)[:-1, -1]
    if ridge:
        return torch.linalg.solve(hessian, gradient)
    return torch.linalg.lstsq(rows, targets[:, None], driver="gelsd").solution[:, 0]


def retrained(jacobian, residual, jacobian_eval, units, factor, **options):
    full = trained(jacobian, residual, **options)
    left = dict(options)
    if left.get("time"):
        left["time"] *= factor
    if left.get("learning_rate"):
        left["learning_rate"] *= factor
    residuals, weights, predictions = torch.empty_like(residual), [], []
    for unit in units:
        keep = torch.tensor([i not in unit for i in range(len(residual))])
        other = trained(jacobian[keep], residual[keep], **left)
        residuals[~keep] = residual[~keep] - jacobian[~keep] @ other
        weights.append((other - full).square().sum())
        predictions.append(jacobian_eval @ (other - full))
    return residuals, torch.stack(weights), torch.stack(predictions)


HORIZONS = {
    "end": {},
    "7 steps": {"learning_rate": 0.01, "steps": 7},
    "400 steps": {"learning_rate": 0.01, "steps": 400},
    "time": {"time": 0.3},
    "long time": {"time": 40.0},
}


def close(ours, theirs, relative=1e-8):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= relative * theirs.abs().max()


@pytest.mark.parametrize("groups", [None, [5, 5, -1, 2, 2, 2, 7, 5, 7]], ids=["each", "groups"])
@pytest.mark.parametrize("horizon", HORIZONS.values(), ids=HORIZONS.keys())
@pytest.mark.parametrize("ridge", [0.0, 2.5])
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_equals_retraining_of_the_linear_model(outputs, ridge, horizon, groups):
    if outputs == 3 and ridge == 0 and not horizon:  # 27 rows and 23 weights: singular
        horizon = {"time": 1e3}
    jacobian, residual, jacobian_eval = problem(outputs)
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, outputs)
    factor = N / (N - 1) if horizon else 1.0
    units = [[i] for i in range(N)]
    if groups is not None:
        units = [[i for i in range(N) if groups[i] == g] for g in sorted(set(groups))]
    ours = leave_one_out(
        kernel, residual if outputs else residual[:, 0], kernel_eval, ridge=ridge, leave_out_factor=factor,
        groups=None if groups is None else torch.tensor(groups), **horizon,
    )  # fmt: skip
    residuals, weights, predictions = retrained(
        jacobian, residual, jacobian_eval, units, factor, ridge=ridge, **horizon
    )
    close(ours.residual, residuals if outputs else residuals[:, 0])
    close(ours.weight_shift, weights)
    close(ours.prediction_shift, predictions if outputs else predictions[..., 0])
    close(ours.sample_information(0.5), 2 * weights)
    close(ours.functional_sample_information(2.0), predictions.square().sum(-1).mean(1) / 8)
    assert (ours.leverage is None) == bool(horizon)


@pytest.mark.parametrize("outputs", [None, 3])
@pytest.mark.parametrize(
    "horizon",
    [{"learning_rate": 0.01, "steps": N - 1}, {"learning_rate": 0.01, "steps": 60}, {"time": 0.7}],
    ids=["renewal", "one by one", "time"],
)
def test_the_rational_form_equals_the_exact_forms(horizon, outputs, monkeypatch):
    jacobian, residual, jacobian_eval = problem(outputs)
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, outputs)
    arguments = (kernel, residual if outputs else residual[:, 0], kernel_eval)
    rational = leave_one_out(*arguments, **horizon)
    monkeypatch.setattr(closed_form, "_TOLERANCE", -1.0)
    exact = leave_one_out(*arguments, **horizon)
    close(rational.prediction_shift, exact.prediction_shift, 1e-9)
    close(rational.weight_shift, exact.weight_shift, 1e-9)


def test_a_horizon_beyond_the_digits_of_a_singular_kernel_warns():
    inputs, targets, evaluation = digits()
    kernel, kernel_eval = inputs @ inputs.T, evaluation @ inputs.T
    largest = torch.linalg.eigvalsh(kernel)[-1].item()
    with pytest.warns(IllConditionedWarning, match=r"1\.0e\+13.*3 digits.*shorter horizon") as caught:
        leave_one_out(kernel, targets, kernel_eval, time=1e13 / largest)
    assert caught[0].filename == __file__


def digits():
    """100 images of 64 pixels and a bias: a kernel of rank 65 at most."""
    data = load_digits()
    images = torch.tensor(data.data[:130] / 16)
    inputs = torch.cat([images, torch.ones(130, 1, dtype=torch.float64)], 1)
    targets = torch.tensor(data.target[:100] % 2, dtype=torch.float64) - 0.5
    return inputs[:100], targets, inputs[100:]


@pytest.mark.parametrize("steps", [1, 2, 20, 300, 2000, 20_000, 200_000])
def test_a_rank_deficient_kernel_at_every_horizon(steps):
    inputs, targets, evaluation = digits()
    kernel, kernel_eval = inputs @ inputs.T, evaluation @ inputs.T
    assert torch.linalg.matrix_rank(kernel) < 66
    rate = 1.9 / torch.linalg.eigvalsh(kernel)[-1].item()
    ours = leave_one_out(kernel, targets, kernel_eval, learning_rate=rate, steps=steps)
    full = _dual(kernel, targets, rate, steps)
    for i in range(0, 100, 9):
        keep = torch.arange(100) != i
        dual = torch.zeros(100, dtype=torch.float64)
        dual[keep] = _dual(kernel[keep][:, keep], targets[keep], rate, steps)
        shift = kernel_eval @ (dual - full)
        assert torch.dist(ours.prediction_shift[i], shift) <= 1e-8 * shift.norm()
        weight_shift = (inputs.T @ (dual - full)).square().sum()
        assert ours.weight_shift[i] == pytest.approx(weight_shift.item(), rel=1e-8)


def _dual(kernel, targets, rate, steps):
    values, vectors = torch.linalg.eigh(kernel)
    sums = torch.tensor([_geometric(max(0.0, float(value)), rate, steps) for value in values], dtype=torch.float64)
    return vectors @ (sums * (vectors.T @ targets))


def _geometric(value, rate, steps):
    """``rate sum_s (1 - rate value)^s``; by doubling, an exact sum of positive and of alternating terms."""
    rho, total, power = 1 - rate * value, 0.0, 1.0
    for bit in bin(steps)[2:]:
        total, power = total * (1 + power), power * power
        if bit == "1":
            total, power = total + power, power * rho
    return rate * total


@pytest.mark.parametrize(("rate", "steps"), [(0.5, 1), (2.0, 1), (2.0, 2), (2.0, 300)])
def test_learning_rates_at_the_limit_and_steps_that_fit_exactly(rate, steps):
    """On the identity g is a number: of one step a constant, at twice the inverse eigenvalue it comes down to 0."""
    targets, kernel = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    out = leave_one_out(kernel, targets, kernel, learning_rate=rate, steps=steps)
    close(out.residual, targets)
    fitted = 1 - (1 - rate) ** steps
    torch.testing.assert_close(out.prediction_shift, -fitted * torch.diag(targets), atol=1e-9, rtol=1e-9)


def test_leverage_and_the_influence_version():
    jacobian, residual, jacobian_eval = problem()
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, None)
    ours = leave_one_out(kernel, residual[:, 0], kernel_eval, ridge=3.0)
    hat = kernel @ torch.linalg.inv(kernel + 3.0 * torch.eye(N, dtype=torch.float64))
    close(ours.leverage, hat.diagonal())
    fitted = residual[:, 0] - hat @ residual[:, 0]
    close(ours.residual, fitted / (1 - ours.leverage))
    hessian = jacobian[:, 0].T @ jacobian[:, 0] + 3.0 * torch.eye(WIDTH, dtype=torch.float64)
    influence = -torch.linalg.solve(hessian, jacobian[:, 0].T * fitted)
    close(ours.weight_shift * (1 - ours.leverage) ** 2, influence.square().sum(0))


def test_leverage_blocks():
    jacobian, residual, jacobian_eval = problem(3)
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, 3)
    ours = leave_one_out(kernel, residual, kernel_eval, ridge=1.5)
    flat = kernel.reshape(3 * N, 3 * N)
    hat = (flat @ torch.linalg.inv(flat + 1.5 * torch.eye(3 * N, dtype=torch.float64))).reshape(N, 3, N, 3)
    close(ours.leverage, torch.stack([hat[i, :, i] for i in range(N)]))


def test_the_first_step_is_the_examples_own_gradient():
    jacobian, residual, jacobian_eval = problem()
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, None)
    ours = leave_one_out(kernel, residual[:, 0], kernel_eval, learning_rate=0.01, steps=1)
    close(ours.weight_shift, (0.01 * residual[:, 0]) ** 2 * kernel.diagonal())
    close(ours.prediction_shift, -0.01 * (kernel_eval * residual[:, 0]).T)
    close(ours.residual, residual[:, 0] - 0.01 * (kernel @ residual[:, 0] - kernel.diagonal() * residual[:, 0]))


def test_twins_tell_little_that_the_other_does_not():
    jacobian, residual, jacobian_eval = problem()
    jacobian[1], residual[1] = jacobian[0], residual[0]
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, None)
    scores = leave_one_out(kernel, residual[:, 0], kernel_eval, ridge=1e-6).sample_information()
    assert scores[0] == pytest.approx(scores[1].item(), rel=1e-6)
    assert scores[:2].max() < 1e-9 * scores[2:].min()
    with pytest.raises(ValueError, match="singular matrix.*ridge.*steps"):
        leave_one_out(kernel, residual[:, 0], kernel_eval)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.sampled_from(["end", "400 steps", "7 steps", "time"]))
def test_invariances(seed, scale, horizon):
    """Permuting examples permutes scores; rotating outputs keeps them; units of the outputs only rescale."""
    options = dict(HORIZONS[horizon])
    jacobian, residual, jacobian_eval = problem(2, seed)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]

    def scores(jacobian, residual, jacobian_eval, ridge=1.0, **options):
        out = leave_one_out(*_order(jacobian, residual, jacobian_eval), ridge=ridge, **options)
        return out.sample_information(), out.functional_sample_information()

    si, fsi = scores(jacobian, residual, jacobian_eval, **options)
    for ours, theirs in zip(scores(jacobian[order], residual[order], jacobian_eval, **options), (si, fsi), strict=True):
        torch.testing.assert_close(ours, theirs[order], rtol=1e-6, atol=1e-12)
    turned = scores(rotation @ jacobian, residual @ rotation.T, rotation @ jacobian_eval, **options)
    for ours, theirs in zip(turned, (si, fsi), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)
    for name in ("learning_rate", "time"):
        if name in options:
            options[name] /= scale**2
    jacobian, jacobian_eval = scale * jacobian, scale * jacobian_eval  # the same weights, in smaller units
    for ours, theirs in zip(
        scores(jacobian, residual, jacobian_eval, ridge=scale**2, **options), (si / scale**2, fsi), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


def _order(jacobian, residual, jacobian_eval):
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, 2)
    return kernel, residual, kernel_eval


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_long_horizons_reach_the_end(ridge):
    jacobian, residual, jacobian_eval = problem()
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, None)
    end = leave_one_out(kernel, residual[:, 0], kernel_eval, ridge=ridge)
    for options in ({"learning_rate": 0.02, "steps": 100_000}, {"time": 2000.0}):
        late = leave_one_out(kernel, residual[:, 0], kernel_eval, ridge=ridge, **options)
        close(late.prediction_shift, end.prediction_shift)
        close(late.residual, end.residual)


@pytest.mark.parametrize("horizon", HORIZONS.values(), ids=HORIZONS.keys())
def test_training_in_closed_form(horizon):
    jacobian, residual, jacobian_eval = problem(2)
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, 2)
    ours = train_linearized(kernel, residual, kernel_eval, ridge=0.5, **horizon)
    close(ours, jacobian_eval @ trained(jacobian, residual, 0.5, **horizon))


def test_several_horizons_at_once():
    jacobian, residual, jacobian_eval = problem()
    arguments = (*kernels(jacobian, jacobian_eval, None)[:1], residual[:, 0], kernels(jacobian, jacobian_eval, None)[1])
    many = train_linearized(*arguments, learning_rate=0.01, steps=[0, 3, 50])
    assert (many[0] == 0).all()
    close(many[1], train_linearized(*arguments, learning_rate=0.01, steps=3))
    times = train_linearized(*arguments, time=[0.1, 2.0])
    close(times[1], train_linearized(*arguments, time=2.0))


def test_an_ill_conditioned_kernel_warns():
    values = torch.logspace(0, -13, 6, dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    kernel = vectors * values @ vectors.T
    kernel = (kernel + kernel.T) / 2
    with pytest.warns(IllConditionedWarning, match="condition number is .*e\\+1.*ridge") as caught:
        out = leave_one_out(kernel, torch.ones(6), kernel)
        train_linearized(kernel, torch.ones(6), kernel)
    assert [warning.filename for warning in caught] == [__file__, __file__]
    assert caught[1].lineno == caught[0].lineno + 1  # of their callers
    assert 1e12 < out.condition_number < 1e15
    well = leave_one_out(kernel, torch.ones(6), kernel, ridge=1.0)
    exact = torch.linalg.cond(kernel + torch.eye(6, dtype=torch.float64), 1)
    assert well.condition_number == pytest.approx(exact.item(), rel=1e-9)


def test_float32_is_solved_in_float64():
    jacobian, residual, jacobian_eval = problem()
    kernel, kernel_eval = kernels(jacobian, jacobian_eval, None)
    out = leave_one_out(kernel.float(), residual[:, 0].float(), kernel_eval.float(), ridge=1.0)
    assert {out.residual.dtype, out.weight_shift.dtype, out.prediction_shift.dtype} == {torch.float64}


EYE, ONES = torch.eye(3), torch.ones(3)
ERRORS = {
    "kernel must be \\[n, n\\]": ((torch.ones(3, 2), ONES, EYE), {}),
    "kernel must be symmetric": ((torch.tensor([[1.0, 0.5], [0.0, 1.0]]), ONES[:2], torch.eye(2)), {}),
    "kernel must be finite": ((EYE * math.nan, ONES, EYE), {}),
    "kernel must hold at least 2": ((torch.ones(1, 1), ONES[:1], torch.ones(1, 1)), {}),
    "kernel must be positive semi-definite": ((-EYE, ONES, EYE), {"learning_rate": 0.1, "steps": 2}),
    "kernel_eval must be \\[m, 3\\]": ((EYE, ONES, torch.ones(3, 2)), {}),
    "residual must be \\[3\\]": ((EYE, torch.ones(4), EYE), {}),
    "residual must be finite": ((EYE, ONES * math.inf, EYE), {}),
    "ridge must be finite and lie": ((EYE, ONES, EYE), {"ridge": -1.0}),
    "steps: got it without learning_rate": ((EYE, ONES, EYE), {"steps": 3}),
    "learning_rate: got it without steps": ((EYE, ONES, EYE), {"learning_rate": 0.1}),
    "time: got it beside": ((EYE, ONES, EYE), {"time": 1.0, "steps": 3, "learning_rate": 0.1}),
    "time must be positive": ((EYE, ONES, EYE), {"time": 0.0}),
    "learning_rate must be positive": ((EYE, ONES, EYE), {"learning_rate": 0.0, "steps": 2}),
    "steps must be at least 1": ((EYE, ONES, EYE), {"learning_rate": 0.1, "steps": 0}),
    "learning_rate: got 2.1, and gradient descent diverges": ((EYE, ONES, EYE), {"learning_rate": 2.1, "steps": 5}),
    "2.1 / .*|times leave_out_factor 1.5": (
        (EYE, ONES, EYE), {"learning_rate": 1.4, "steps": 5, "leave_out_factor": 1.5},
    ),
    "leave_out_factor must be positive": ((EYE, ONES, EYE), {"leave_out_factor": 0.0}),
    "groups must be \\[3\\]": ((EYE, ONES, EYE), {"groups": torch.tensor([0, 1])}),
    "groups must hold at least 2": ((EYE, ONES, EYE), {"groups": torch.tensor([1, 1, 1])}),
}  # fmt: skip


@pytest.mark.parametrize(("message", "case"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors(message, case):
    arguments, options = case
    with pytest.raises(ValueError, match=message):
        leave_one_out(*arguments, **options)


def test_errors_of_type():
    with pytest.raises(TypeError, match="groups must be integers"):
        leave_one_out(EYE, ONES, EYE, groups=torch.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(TypeError, match="steps must be an integer"):
        leave_one_out(EYE, ONES, EYE, learning_rate=0.1, steps=2.5)
    with pytest.raises(ValueError, match="sigma must be positive"):
        leave_one_out(EYE, ONES, EYE, ridge=1.0).sample_information(0.0)
