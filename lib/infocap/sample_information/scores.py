"""How many nats is a shift worth, and how does a user get the scores of a network?

The divergence between two Gaussians with one covariance is half the squared distance of their means in the metric of
the inverse covariance. The noise may be chosen freely, or be that of stochastic gradient descent at its steady state.

Derived in book/sample_information/unique_information.ipynb from Harutyunyan et al. (2021, arXiv 2101.06640).
"""

import math

import torch
from torch import Tensor, nn

from infocap import _checks as check
from infocap.sample_information.closed_form import LeaveOneOut, leave_one_out
from infocap.tangent import ntk
from infocap.training.loop import predict

__all__ = ["sample_scores", "sgd_covariance", "smooth_sample_information"]

_RANK = 1e-12  # eigenvalues below this share of the largest count as zero
_OUTSIDE = 1e-12  # squared lengths below this share of the whole count as zero


def smooth_sample_information(weight_difference: Tensor, covariance: Tensor) -> Tensor:
    """Sample information for Gaussian noise of any covariance, ``1/2 d^T Sigma^-1 d``.

    Args:
        weight_difference: ``[..., d]``, the weights without an example minus the weights with it.
        covariance: ``[d, d]``, symmetric and positive semi-definite; zero stands for no noise.

    Returns:
        ``[...]`` in float64, nats. Where the difference leaves the range of a singular covariance, by more than a
        relative 1e-6, the two distributions do not overlap and the information is infinite.

    Raises:
        ValueError: Shapes that disagree, values that are not finite, or a covariance that is not one.

    Cost: O(d^3).

    Example:
        >>> smooth_sample_information(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.diag(torch.tensor([4.0, 0.0])))
        tensor([0.5000,    inf], dtype=torch.float64)
    """
    difference = check.float64("weight_difference", weight_difference)
    values, vectors = _symmetric("covariance", covariance)
    if difference.shape[-1:] != values.shape:
        raise ValueError(f"weight_difference must be [..., {len(values)}], got shape {tuple(difference.shape)}")
    _refuse_negative("covariance", values)
    present = values > _RANK * values[-1]
    coordinates = difference @ vectors
    outside = coordinates[..., ~present].square().sum(-1) > _OUTSIDE * difference.square().sum(-1)
    information = (coordinates[..., present] ** 2 / values[present]).sum(-1) / 2
    return torch.where(outside, math.inf, information)


def sgd_covariance(hessian: Tensor, gradient_covariance: Tensor, *, learning_rate: float, batch_size: int) -> Tensor:
    """The stationary covariance of stochastic gradient descent around a minimum, in continuous time.

    The S that solves ``H S + S H = (learning_rate / batch_size) Lambda``, everything for the MEAN loss:
    ``H = J^T J / n + l2 I``, and Lambda is the covariance of the gradients of single examples.

    Args:
        hessian: ``[d, d]``, symmetric; positive definite, or zero only along directions without noise, along which
            the result is zero too.
        gradient_covariance: ``[d, d]``, symmetric; may be singular, and the result is then singular too.
        learning_rate: Positive, of the mean loss.
        batch_size: At least 1.

    Returns:
        ``[d, d]`` in float64, symmetric.

    Raises:
        ValueError: Shapes that disagree, a Hessian that leaves noise unbounded, a matrix that is no covariance, or
            numbers out of range.

    Cost: O(d^3), so that only small models are within reach.

    Example:
        >>> sgd_covariance(torch.eye(2), torch.diag(torch.tensor([2.0, 0.0])), learning_rate=0.1, batch_size=2)
        tensor([[0.0500, 0.0000],
                [0.0000, 0.0000]], dtype=torch.float64)
    """
    if check.real("learning_rate", learning_rate, low=0) == 0:
        raise ValueError("learning_rate must be positive, got 0")
    check.count("batch_size", batch_size, 1)
    values, vectors = _symmetric("hessian", hessian)
    noise = check.float64("gradient_covariance", gradient_covariance)
    _refuse_negative("gradient_covariance", _symmetric("gradient_covariance", noise, len(values))[0])
    rotated = vectors.T @ noise @ vectors * (learning_rate / batch_size)
    flat = values <= _RANK * values[-1]
    if values[0] < -_RANK * values[-1].abs() or rotated.diagonal()[flat].sum() > _OUTSIDE * rotated.trace():
        raise ValueError(
            f"hessian must be positive definite for a steady state, got an eigenvalue of {values[0]:.2g} along noisy "
            "directions; weight decay helps"
        )
    rates = values[:, None] + values
    rates[flat] = rates[:, flat] = math.inf  # without noise the weights stay where they are
    solution = vectors @ (rotated / rates) @ vectors.T
    return (solution + solution.T) / 2


def sample_scores(model: nn.Module, inputs: Tensor, targets: Tensor, eval_inputs: Tensor, **options) -> LeaveOneOut:
    """The sample information of every example for a network, linearized at its current weights.

    Args:
        model: Any module with outputs ``[n, C]``, usually at its initialization, or pretrained on other data.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers, such as one-hot vectors.
        eval_inputs: ``[m, ...]``, the inputs over which F-SI is averaged; their labels are not needed.
        **options: As in ``leave_one_out``: ``ridge``, ``learning_rate`` and ``steps``, ``time``, ``groups`` and so on.

    Returns:
        What ``leave_one_out`` returns; its methods give SI and F-SI in nats.

    Raises:
        TypeError: Integer targets.
        ValueError: Shapes that disagree, and as ``ntk`` and ``leave_one_out``.

    Cost: two kernels and one ``leave_one_out``. Whether the linearization describes the network's own training is
    another question, which ``linearization_quality`` answers at the price of one training.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), torch.tensor([1.0, 2.0, 5.0])
        >>> sample_scores(net, x, y, x, ridge=0.1).functional_sample_information().argmax()  # the only one of its kind
        tensor(2)
    """
    outputs, targets = predict(model, inputs), as_targets(targets)
    if targets.shape != outputs.shape and not (outputs.shape[1] == 1 and targets.shape == outputs.shape[:1]):
        raise ValueError(f"targets: got shape {list(targets.shape)}; accepted: {list(outputs.shape)}, as the outputs")
    kernel, kernel_eval = ntk(model, inputs), ntk(model, eval_inputs, inputs)
    if targets.ndim == 1:
        outputs, kernel, kernel_eval = outputs[:, 0], kernel[:, 0, :, 0], kernel_eval[:, 0, :, 0]
    return leave_one_out(kernel, targets.double() - outputs.double(), kernel_eval, **options)


def as_targets(targets: Tensor) -> Tensor:
    """Refuses class ids, which a squared error would take for numbers."""
    if not isinstance(targets, Tensor) or not targets.is_floating_point():
        kind = getattr(targets, "dtype", type(targets).__name__)
        raise TypeError(f"targets: got {kind}; accepted: a floating tensor, such as one-hot vectors of the classes")
    return targets


def _symmetric(name: str, value: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors."""
    matrix = check.float64(name, value)
    wanted = "d" if size is None else size
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or size not in (None, len(matrix)):
        raise ValueError(f"{name} must be [{wanted}, {wanted}], got shape {tuple(matrix.shape)}")
    if (matrix - matrix.T).abs().max() > 1e-6 * matrix.abs().max():
        raise ValueError(f"{name} must be symmetric")
    return torch.linalg.eigh(matrix)


def _refuse_negative(name: str, values: Tensor) -> None:
    if values[0] < -1e-9 * values[-1].abs():
        raise ValueError(f"{name} must be positive semi-definite, got an eigenvalue of {values[0]:.2g}")
