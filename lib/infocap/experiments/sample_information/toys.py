"""Table ``sample_information/toys``: small problems that are solved twice, once in closed form and once by force.

| toy | parameter | what is compared |
|---|---|---|
| ``exact`` | horizon | all-at-once leave-one-out with one training of the linearized network per left-out unit |
| ``fisher`` | sigma | F-SI with SI whose noise has the inverse Fisher matrix as covariance |
| ``steady_state`` | learning rate | the stationary covariance of SGD with that of simulated chains |
| ``bound`` | | the bound on the generalization gap of the smoothed algorithm with its real gap, for each sigma |

Conventions that may surprise: ``exact`` works with the SUM of the losses, ``steady_state`` with their MEAN. In
``bound`` noise is added to the weights of a linearized network, so that an output is Gaussian and its error rate an
integral in closed form. Drawn in book/sample_information/unique_information.ipynb.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from infocap import networks
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.sample_information.closed_form import leave_one_out, train_linearized
from infocap.sample_information.scores import sgd_covariance, smooth_sample_information
from infocap.study.fields import AtLeast, NonNegative
from infocap.tangent import jacobian
from infocap.training.loop import predict

PANEL = "toy"
GRID = {
    "horizons": "horizon",
    "outputs": "outputs",
    "ridges": "ridge",
    "groupings": "grouped",
    "parameters": "parameter",
    "seeds": "seed",
}

SIGMAS = (0.01, 0.03, 0.1, 0.3, 1.0)
HORIZONS = {"end": {}, "steps": {"learning_rate": None, "steps": 300}, "time": {"time": None}}


@dataclass(frozen=True)
class Cell:
    """One toy at one value of its parameter. ``n`` examples, ``m`` evaluation inputs, ``width`` hidden units."""

    toy: Literal["exact", "fisher", "steady_state", "bound"]
    n: AtLeast[4]
    m: AtLeast[2]
    width: AtLeast[1]
    chains: AtLeast[2]
    parameter: float = 0.0
    horizon: Literal["end", "steps", "time"] = "end"
    outputs: AtLeast[1] = 1
    ridge: NonNegative = 0.0
    grouped: bool = False
    seed: int = 0

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [networks.NETWORKS.module("mlp")]


def measure(cell: Cell) -> dict[str, Any]:
    """The numbers of one cell; which ones depends on its toy."""
    return _MEASURES[cell.toy](cell)


def exact(cell: Cell) -> dict[str, float]:
    """The largest errors of ``leave_one_out``, relative to the largest entry that force gives."""
    task = two_classes("fashion-mnist", (2, 4), cell.n, cell.m, cell.seed, side=7)
    model = networks.build(
        "mlp", cell.outputs, seed=cell.seed, in_features=49, widths=(cell.width,), batch_norm=False
    ).double()
    inputs, eval_inputs = task.inputs.double(), task.eval_inputs.double()
    random = torch.randn(cell.n, cell.outputs, dtype=torch.float64, generator=stream("targets", cell.seed))
    residual = random - predict(model, inputs)
    own, other = jacobian(model, inputs), jacobian(model, eval_inputs)
    groups = torch.arange(cell.n) // 3 if cell.grouped else torch.arange(cell.n)
    largest = torch.linalg.matrix_norm(own.flatten(0, 1), 2) ** 2 + cell.ridge
    options = {"ridge": cell.ridge} | {  # a step of half the stable one, or as much time
        name: 300 / float(largest) if name == "time" else value or 1 / float(largest)
        for name, value in HORIZONS[cell.horizon].items()
    }
    kernel, kernel_eval = (torch.einsum("mcd,nkd->mcnk", left, own) for left in (own, other))
    fast = leave_one_out(kernel, residual, kernel_eval, groups=groups, **options)

    everything = force(own, residual, **options)
    weights, predictions, left_out = [], [], torch.empty_like(residual)
    for group in groups.unique():
        kept = groups != group
        moved = force(own[kept], residual[kept], **options)
        weights.append((moved - everything).square().sum())
        predictions.append(other @ (moved - everything))
        left_out[~kept] = residual[~kept] - own[~kept] @ moved

    def error(ours: Tensor, brute: Tensor) -> float:
        return float((ours - brute).abs().max() / brute.abs().max())

    return {
        "weight_error": error(fast.weight_shift, torch.stack(weights)),
        "prediction_error": error(fast.prediction_shift, torch.stack(predictions)),
        "residual_error": error(fast.residual, left_out),
    }


def force(
    derivatives: Tensor,
    residual: Tensor,
    *,
    ridge: float,
    learning_rate: float | None = None,
    steps: int | None = None,
    time: float | None = None,
) -> Tensor:
    """The change of the weights ``[d]`` of one linearized network, found in weight space.

    To the end by the normal equations, or least squares where they are singular; by steps of gradient descent; for a
    time by the exponential of a matrix.
    """
    rows, wanted = derivatives.flatten(0, 1), residual.flatten()
    size = rows.shape[1]
    if steps is not None:
        moved = rows.new_zeros(size)
        for _ in range(steps):
            moved = moved - learning_rate * (rows.T @ (rows @ moved - wanted) + ridge * moved)
        return moved
    if time is not None:
        # d/dt (a, 1) = (-A a + r, 0): the exponential of the bordered matrix holds the integral
        bordered = rows.new_zeros(len(rows) + 1, len(rows) + 1)
        bordered[:-1, :-1] = -(rows @ rows.T + ridge * torch.eye(len(rows)).to(rows))
        bordered[:-1, -1] = wanted
        return rows.T @ torch.linalg.matrix_exp(bordered * time)[:-1, -1]
    if ridge == 0:
        return torch.linalg.lstsq(rows, wanted, driver="gelsd").solution
    return torch.linalg.solve(rows.T @ rows + ridge * torch.eye(size).to(rows), rows.T @ wanted)


def fisher(cell: Cell) -> dict[str, Any]:
    """F-SI and, for the same examples, ``1/2 d^T F d`` with the Fisher matrix F of a network of few weights."""
    generator = stream("fisher", cell.seed)
    inputs, eval_inputs = (torch.randn(size, 4, dtype=torch.float64, generator=generator) for size in (cell.n, 200))
    model = networks.seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double(), cell.seed)
    own, other = (jacobian(model, part)[:, 0] for part in (inputs, eval_inputs))
    residual = inputs.sum(1).sign() - predict(model, inputs)[:, 0]
    fast = leave_one_out(own @ own.T, residual, other @ own.T, ridge=1.0)
    everything = force(own[:, None], residual[:, None], ridge=1.0)
    kept = ~torch.eye(cell.n, dtype=torch.bool)
    moved = torch.stack([force(own[row, None], residual[row, None], ridge=1.0) for row in kept])
    covariance = torch.linalg.pinv(other.T @ other / len(other), hermitian=True)
    by_weights = smooth_sample_information(moved - everything, cell.parameter**2 * covariance)
    by_predictions = fast.functional_sample_information(cell.parameter)
    return {
        "error": float((by_weights - by_predictions).abs().max() / by_predictions.max()),
        "by_weights": by_weights.tolist(),
        "by_predictions": by_predictions.tolist(),
    }


def steady_state(cell: Cell) -> dict[str, Any]:
    """The covariance of SGD around the minimum of a regression with three weights, simulated and in theory."""
    n, batch, decay = 30, 4, 0.1
    generator = stream("steady state", cell.seed)
    inputs = torch.randn(n, 3, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 0.7, 0.4])
    noise = torch.randn(n, dtype=torch.float64, generator=generator)
    targets = inputs @ torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64) + 0.5 * noise
    hessian = inputs.T @ inputs / n + decay * torch.eye(3)
    minimum = torch.linalg.solve(hessian, inputs.T @ targets / n)
    gradients = inputs * (inputs @ minimum - targets)[:, None]
    theory = sgd_covariance(
        hessian, torch.cov(gradients.T, correction=0), learning_rate=cell.parameter, batch_size=batch
    )

    weights = minimum.repeat(cell.chains, 1)
    burn_in, kept = round(30 / cell.parameter), 200  # the slowest direction takes some 4 / learning rate steps
    every = max(1, round(1 / cell.parameter))  # about one time unit between two looks
    moments = torch.zeros(3, 3, dtype=torch.float64)
    for step in range(1, burn_in + kept * every + 1):
        rows = torch.randint(n, (cell.chains, batch), generator=generator)
        x = inputs[rows]
        slope = (x * ((x @ weights[:, :, None])[..., 0] - targets[rows])[..., None]).mean(1)
        weights = weights - cell.parameter * (slope + decay * weights)
        if step > burn_in and (step - burn_in) % every == 0:
            moments += (weights - minimum).T @ (weights - minimum) / cell.chains
    simulated = moments / kept

    left_out = torch.stack([_ridge(inputs[row], targets[row], decay) for row in ~torch.eye(n, dtype=torch.bool)])
    shift = left_out - minimum
    return {
        "error": float((simulated - theory).norm() / theory.norm()),
        "theory": theory.flatten().tolist(),
        "simulated": simulated.flatten().tolist(),
        "by_sgd": smooth_sample_information(shift, theory).tolist(),
        "isotropic": smooth_sample_information(shift, theory.trace() / 3 * torch.eye(3)).tolist(),
    }


def _ridge(inputs: Tensor, targets: Tensor, decay: float) -> Tensor:
    n = len(inputs)
    return torch.linalg.solve(inputs.T @ inputs / n + decay * torch.eye(3), inputs.T @ targets / n)


def bound(cell: Cell) -> dict[str, list[float]]:
    """Errors and information of a linearized network whose weights get noise ``N(0, sigma^2 I)`` after training."""
    task = two_classes("fashion-mnist", (2, 4), cell.n, 1, cell.seed, side=7)
    model = networks.build("mlp", 1, seed=0, in_features=49, widths=(cell.width,), batch_norm=False).double()
    parts = [(task.inputs.double(), task.targets.double()), (task.test_inputs.double(), task.test_targets.double())]
    own, other = (jacobian(model, inputs)[:, 0] for inputs, _ in parts)
    kernel, kernel_test = own @ own.T, other @ own.T
    residual = parts[0][1] - predict(model, parts[0][0])[:, 0]
    solution = leave_one_out(kernel, residual, kernel_test, ridge=cell.ridge)
    information = [float(solution.sample_information(sigma).mean()) for sigma in SIGMAS]
    errors = []
    for (inputs, labels), rows, cross in zip(parts, (own, other), (kernel, kernel_test), strict=True):
        outputs = predict(model, inputs)[:, 0] + train_linearized(kernel, residual, cross, ridge=cell.ridge)
        margin = (outputs - 0.5) * (2 * labels - 1) / rows.norm(dim=1)  # in units of the output's noise at sigma 1
        errors.append([float(torch.special.ndtr(-margin / sigma).mean()) for sigma in SIGMAS])
    return {"train_error": errors[0], "test_error": errors[1], "mean_information": information}


_MEASURES = {"exact": exact, "fisher": fisher, "steady_state": steady_state, "bound": bound}
