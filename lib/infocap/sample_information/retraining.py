"""What does real training without an example give, and when does the linearized network describe it?

The oracle that costs one training per example, and a probe that costs a single one.

Conventions: training is full-batch gradient descent on the MEAN over examples of half squared errors, plus
``weight_decay/2 ||w - w0||^2``: weights decay towards the initialization. Networks stay in evaluation mode, as in the
kernel: batch-norm keeps its statistics, and dropout is off. Beside the closed forms, pass ``leave_one_out`` learning
rate / n, n times the weight decay and ``leave_out_factor = n / (n - 1)``.
Used in book/sample_information/unique_information.ipynb.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from infocap import _checks as check
from infocap.networks import seeded
from infocap.sample_information.closed_form import train_linearized
from infocap.sample_information.scores import as_targets
from infocap.tangent import ntk
from infocap.training.loop import fit, predict
from infocap.training.many import Fits, fit_many
from infocap.training.optimizers import AnchoredSGD

__all__ = ["LinearizationQuality", "Retrained", "linearization_quality", "retrain_leave_one_out"]

_TOGETHER = 8  # networks per call of fit_many: more are slower, as their weights no longer fit the cache


@dataclass(frozen=True)
class Retrained:
    """What real retraining gave.

    Attributes:
        weight_shift: ``[k]``, ``||w_-i - w||^2`` over all parameters.
        prediction_shift: ``[k, m]``, or ``[k, m, C]`` for two-dimensional targets: ``f_-i - f`` at the evaluation
            inputs.
        weights: Parameters and buffers of the network that was trained on all examples, by name.
        outputs: ``[m, C]``, its outputs at the evaluation inputs.
    """

    weight_shift: Tensor
    prediction_shift: Tensor
    weights: dict[str, Tensor]
    outputs: Tensor


def retrain_leave_one_out(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    eval_inputs: Tensor,
    indices: Sequence[int] | Tensor,
    *,
    learning_rate: float,
    steps: int,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> Retrained:
    """Trains a network on all examples, and again without each chosen one, from the same initialization.

    Args:
        build: Returns a new network; called with torch's generator seeded by ``seed``. Its dtype is that of the
            inputs; shifts are small, so float64 is the safe choice.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers.
        eval_inputs: ``[m, ...]``.
        indices: ``[k]``, the examples to leave out, one at a time.
        learning_rate: Of the mean loss.
        steps: Steps of full-batch gradient descent.
        weight_decay: Towards the initial weights.
        seed: Of the initialization.

    Returns:
        The shifts, and the network trained on everything.

    Raises:
        TypeError: Integer targets, or indices that are not integers.
        ValueError: No or unknown indices, targets unlike the outputs, a negative weight decay, and as ``fit_many``.

    Cost: k + 1 trainings, several at a time where that pays.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
        >>> out = retrain_leave_one_out(lambda: nn.Linear(1, 1).double(), x, 2 * x[:, 0], x, [0, 2],
        ...                             learning_rate=0.1, steps=5)
        >>> out.prediction_shift.shape
        torch.Size([2, 3])
    """
    rows, n = check.as_tensor("indices", indices), len(inputs)
    if rows.ndim != 1 or len(rows) == 0 or rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"indices: got {rows.tolist()}; accepted: a list of rows from 0 to {n - 1}, not empty")
    if rows.is_floating_point():
        raise TypeError(f"indices must be integers, got {rows.dtype}")
    check.real("weight_decay", weight_decay, low=0)
    model = seeded(build, seed).to(inputs.device)
    labels = _columns(targets, (n, predict(model, inputs[:1]).shape[1]))
    parameters = [name for name, _ in model.named_parameters()]
    optimizer = partial(AnchoredSGD, lr=learning_rate, weight_decay=weight_decay)

    def train(subsets: Tensor) -> tuple[Tensor, Fits]:
        """Flat weights ``[M, d]``, and the networks with outputs ``[M, m, C]`` after the last step."""
        many = fit_many(
            lambda: _frozen(build()), inputs, labels, subsets,
            init_seeds=[seed] * len(subsets), order_seeds=[0] * len(subsets),
            loss=half_squared_error, optimizer=optimizer, steps=steps, batch_size=subsets.shape[1],
            record=lambda step, outputs: outputs, record_at=[steps], eval_inputs=eval_inputs,
        )  # fmt: skip
        return torch.cat([many.weights[name].flatten(1) for name in parameters], 1), many

    everything = torch.arange(n)
    weights, full = train(everything[None])
    weight_shifts, prediction_shifts = [], []
    for chosen in rows.split(_TOGETHER):
        left_weights, left = train(torch.stack([everything[everything != i] for i in chosen]))
        weight_shifts.append((left_weights - weights).square().sum(1))
        prediction_shifts.append(left.records[steps] - full.records[steps])
    shift = torch.cat(prediction_shifts)
    return Retrained(
        torch.cat(weight_shifts),
        shift[..., 0] if targets.ndim == 1 else shift,
        full.state(0),
        full.records[steps][0],
    )


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over examples of half the squared error, summed over outputs."""
    return (outputs - targets).square().sum(1).mean() / 2


@dataclass(frozen=True)
class LinearizationQuality:
    """How far a network's own training is from that of its linearization.

    Attributes:
        relative_move: ``||w - w0|| / ||w0||`` after training.
        prediction_error: ``||(f - f0) - (f_lin - f0)|| / ||f - f0||`` over the evaluation inputs; infinite where the
            linearized network diverges.
        kernel_change: ``||K - K0|| / ||K0||`` in the Frobenius norm, over the training inputs.
        stability: learning rate times the largest eigenvalue of ``K0 / n`` plus weight decay; gradient descent
            on the linearized network diverges beyond 2.
    """

    relative_move: float
    prediction_error: float
    kernel_change: float
    stability: float

    @property
    def trustworthy(self) -> bool:
        """True if closed-form scores describe this network, by a prediction error of at most a tenth."""
        return self.prediction_error <= _TRUSTED

    def __str__(self) -> str:
        verdict = "can be trusted" if self.trustworthy else "are not to be trusted: widen the network or train it less"
        return (
            f"scores of the linearized network {verdict} (prediction error {self.prediction_error:.2g}, weights "
            f"moved by {self.relative_move:.2g}, kernel by {self.kernel_change:.2g}, stability {self.stability:.2g}/2)"
        )


_TRUSTED = 0.1


def linearization_quality(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    eval_inputs: Tensor,
    *,
    learning_rate: float,
    steps: int,
    weight_decay: float = 0.0,
) -> LinearizationQuality:
    """Trains a copy of the network once and compares it with the closed form.

    Args:
        model: Any module with outputs ``[n, C]``, left as it is.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers.
        eval_inputs: ``[m, ...]``.
        learning_rate: Of the mean loss.
        steps: Steps of full-batch gradient descent.
        weight_decay: Towards the initial weights.

    Returns:
        Four numbers and a verdict; printed, it is a sentence. Where training diverges they are infinite.

    Raises:
        TypeError: Integer targets.
        ValueError: Targets unlike the outputs, a negative weight decay, and as ``fit`` and ``ntk``.

    Cost: one training, three kernels, one eigendecomposition.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> quality = linearization_quality(nn.Linear(1, 1), x, 2 * x[:, 0], x, learning_rate=0.1, steps=20)
        >>> quality.trustworthy  # a linear model is its own linearization
        True
    """
    check.real("weight_decay", weight_decay, low=0)
    before, outputs = predict(model, eval_inputs), predict(model, inputs)
    n, labels = len(inputs), _columns(targets, outputs.shape)
    kernel, kernel_eval = ntk(model, inputs), ntk(model, eval_inputs, inputs)
    flat = kernel.double().reshape(n * labels.shape[1], -1)
    stability = learning_rate * (torch.linalg.eigvalsh(flat)[-1].item() / n + weight_decay)

    trained = copy.deepcopy(model)
    fit(
        _frozen(trained), inputs, labels, loss=half_squared_error, steps=steps, batch_size=n,
        optimizer=partial(AnchoredSGD, lr=learning_rate, weight_decay=weight_decay),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    start, end = (nn.utils.parameters_to_vector(m.parameters()).detach() for m in (model, trained))
    if not end.isfinite().all():
        return LinearizationQuality(math.inf, math.inf, math.inf, stability)
    change = (predict(trained, eval_inputs) - before).double()
    error = math.inf
    if stability <= 2:
        linear = train_linearized(
            kernel, labels.double() - outputs.double(), kernel_eval,
            ridge=n * weight_decay, learning_rate=learning_rate / n, steps=steps,
        )  # fmt: skip
        error = _relative(linear, change)
    return LinearizationQuality(_relative(end, start), error, _relative(ntk(trained, inputs), kernel), stability)


def _relative(value: Tensor, reference: Tensor) -> float:
    """``||value - reference|| / ||reference||``, 0 where both are zero."""
    error = (value - reference).norm()
    return float(error / reference.norm()) if error else 0.0


def _frozen(model: nn.Module) -> nn.Module:
    """The network itself, which stays in evaluation mode while it is trained."""
    model.eval().train = lambda mode=True: model
    return model


def _columns(targets: Tensor, shape: tuple[int, int]) -> Tensor:
    """Targets as ``[n, C]``, refused if they are not shaped as the outputs."""
    labels = as_targets(targets)
    labels = labels[:, None] if labels.ndim == 1 else labels
    if labels.shape != shape:
        raise ValueError(f"targets: got shape {list(targets.shape)}; accepted: {list(shape)}, as the outputs")
    return labels
