"""What would training without one example have given, for every example at once?

The linearized network ``f(x) = f0(x) + J(x) (w - w0)``, trained from ``w0`` on the sum of half squared errors plus
``ridge/2 ||w - w0||^2``, has weights ``w0 + J^T a``. To the end of training ``a = A^-1 r`` with ``A = K + ridge I``;
without the rows I of an example, with ``B = A^-1``::

    e_I = B_II^-1 a_I                        the left-out residual
    a_-i - a = -B[:, I] e_I                  the change of the dual coefficients
    f_-i - f = -(K_eval B)[:, I] e_I         the change of the predictions
    ||w_-i - w||^2 = e_I^T [B_II - ridge (B^2)_II] e_I

so that one factorization serves all examples. A finite horizon is a sum of such ridge problems, see
``infocap.sample_information.horizon``, each diagonal in the eigenbasis of K.

Derived in book/sample_information/unique_information.ipynb; the linearized dynamics are those of Harutyunyan et al.
(2021, arXiv 2101.06640), the leave-one-out forms are this book's.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infocap import _checks as check
from infocap import _memory
from infocap.sample_information.horizon import discrete, flow, rational

__all__ = ["IllConditionedWarning", "LeaveOneOut", "leave_one_out", "train_linearized"]

_SINGULAR, _ILL = 1e15, 1e12  # condition numbers beyond which a solve is refused, and warned of
_HELPS = "a larger ridge, or a finite horizon through steps and learning_rate"
_TOLERANCE = 1e-9  # relative error of the rational form beyond which the slower exact forms are used


class IllConditionedWarning(UserWarning):
    """A solve lost many digits; its message says how many and what helps."""


@dataclass(frozen=True)
class LeaveOneOut:
    """All left-out solutions; float64. ``units`` are the examples, or the groups in ascending order of their ids.

    Attributes:
        residual: Shaped as the residual that was passed in: targets minus the left-out model's prediction at the
            left-out example.
        leverage: ``[n]`` or ``[n, C, C]``, the block diagonal of ``K (K + ridge)^-1``; ``None`` at a finite horizon.
        weight_shift: ``[units]``, ``||w_-i - w||^2``.
        prediction_shift: ``[units, m]``, or ``[units, m, C]`` for a four-index kernel: ``f_-i - f`` at the
            evaluation inputs.
        condition_number: Of ``K + ridge I``: to the end in the 1-norm, at a finite horizon the ratio of its extreme
            eigenvalues (nothing is inverted there, so that infinity does no harm).
    """

    residual: Tensor
    leverage: Tensor | None
    weight_shift: Tensor
    prediction_shift: Tensor
    condition_number: float

    def sample_information(self, sigma: float = 1.0) -> Tensor:
        """SI of each unit in nats, for noise ``N(0, sigma^2 I)`` on the weights: ``weight_shift / (2 sigma^2)``."""
        return self.weight_shift / (2 * _sigma(sigma) ** 2)

    def functional_sample_information(self, sigma: float = 1.0) -> Tensor:
        """F-SI of each unit in nats, for noise ``N(0, sigma^2 I)`` on the outputs, averaged over evaluation inputs."""
        squares = self.prediction_shift**2
        total = squares.sum(-1) if squares.ndim == 3 else squares
        return total.mean(1) / (2 * _sigma(sigma) ** 2)


def leave_one_out(
    kernel: Tensor,
    residual: Tensor,
    kernel_eval: Tensor,
    *,
    ridge: float = 0.0,
    learning_rate: float | None = None,
    steps: int | None = None,
    time: float | None = None,
    leave_out_factor: float = 1.0,
    groups: Tensor | None = None,
) -> LeaveOneOut:
    """Trains a linearized network without each example, all at once and exactly.

    Training minimizes the SUM of half squared errors plus ``ridge/2 ||w - w0||^2``: to the end, for ``steps`` steps of
    gradient descent, or for a ``time`` of gradient flow. For a mean loss over n examples pass learning rate / n, n
    times its weight decay, and ``leave_out_factor = n / (n - 1)``; that a real left-out run would have n - 1 times the
    weight decay is not modelled.

    Args:
        kernel: ``[n, n]`` or ``[n, C, n, C]``, the tangent kernel of the training inputs.
        residual: ``[n]`` or ``[n, C]``, targets minus initial outputs.
        kernel_eval: ``[m, n]`` or ``[m, C, n, C]``, between evaluation and training inputs.
        ridge: At least 0.
        learning_rate: Of the sum of the losses; needed by ``steps``.
        steps: Steps of gradient descent.
        time: Length of gradient flow; excludes ``learning_rate`` and ``steps``.
        leave_out_factor: Multiplies the learning rate or the time of the left-out runs.
        groups: ``[n]`` integer ids; all examples of an id are left out together.

    Returns:
        Residuals, leverages and shifts, in float64.

    Raises:
        ValueError: Shapes that disagree, values out of range, a learning rate beyond 2 / (largest eigenvalue + ridge),
            or a singular kernel trained to the end without ridge.
        TypeError: Not numbers, or groups that are not integers.
        MemoryError: Three matrices like ``kernel`` and two like ``kernel_eval`` in float64, which are held at least,
            would not fit; says their size before they are allocated.

    Warns:
        IllConditionedWarning: The condition number exceeds 1e12.

    Cost, with N = nC: to the end one factorization, O(N^3), and one product, O(m C N^2). At a finite horizon, of
    whatever length, an eigendecomposition and about 10 poles: O(N^3 + N^2 C P + m C N^2). Where the rational
    form does not fit, as for a few steps at a large rate, the renewal form does, O(N^3 + t C N^2 + t^2 C N), and beyond
    N steps one eigendecomposition for each unit.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
        >>> out = leave_one_out(x @ x.T, torch.tensor([1.0, 2.0, 4.0]), x @ x.T, ridge=1.0)
        >>> out.residual  # without the last point the slope is 5/6
        tensor([-0.1429, -0.3636,  1.5000], dtype=torch.float64)
        >>> out.sample_information(sigma=0.5).argmax()
        tensor(2)
    """
    problem = Problem(kernel, residual, kernel_eval, ridge)
    factor = check.real("leave_out_factor", leave_out_factor, low=0)
    if factor == 0:
        raise ValueError("leave_out_factor must be positive, got 0")
    units = problem.units(groups)
    g = _horizon(learning_rate, steps, time)
    if g is None:
        return _to_the_end(problem, units, *regularized_inverse(problem.kernel, problem.ridge, _HELPS))
    return _finite(problem, units, learning_rate, steps, time, factor)


def train_linearized(
    kernel: Tensor,
    residual: Tensor,
    kernel_eval: Tensor,
    *,
    ridge: float = 0.0,
    learning_rate: float | None = None,
    steps: int | Sequence[int] | None = None,
    time: float | Sequence[float] | None = None,
) -> Tensor:
    """The change of a linearized network's predictions, ``f_t - f_0``, in closed form.

    Args:
        kernel, residual, kernel_eval, ridge, learning_rate: As in ``leave_one_out``.
        steps: Steps of gradient descent; several give a leading axis.
        time: Length of gradient flow; several give a leading axis.

    Returns:
        ``[m]`` or ``[m, C]`` in float64, with a leading axis for several horizons. Pass ``kernel`` as ``kernel_eval``
        for the training inputs.

    Raises:
        ValueError, TypeError, MemoryError: As ``leave_one_out``.

    Cost: one eigendecomposition, O(N^3), and O(N^2 + m C N) for each horizon.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        >>> train_linearized(x @ x.T, torch.tensor([1.0, 2.0]), x @ x.T, learning_rate=0.1, steps=[0, 1, 100])
        tensor([[0.0000, 0.0000],
                [0.5000, 1.0000],
                [1.0000, 2.0000]], dtype=torch.float64)
    """
    problem = Problem(kernel, residual, kernel_eval, ridge)
    values, vectors = problem.eigen()
    coordinates = vectors.T @ problem.residual
    cross = problem.kernel_eval @ vectors

    def change(one_steps: int | None, one_time: float | None) -> Tensor:
        if one_steps == 0:
            return torch.zeros_like(cross[:, 0])
        g = _horizon(learning_rate, one_steps, one_time)
        if g is None:
            _refuse_singular(ridge, (values[-1] + ridge) / (values[0] + ridge), _HELPS)
            g = np.reciprocal
        else:
            _refuse_divergence(values, ridge, learning_rate, 1.0)
        return cross @ (_apply(g, values + ridge) * coordinates)

    several = steps if isinstance(steps, Sequence | Tensor | np.ndarray | range) else time
    if isinstance(several, Sequence | Tensor | np.ndarray | range):
        horizons = [(int(s), None) for s in steps] if several is steps else [(None, float(s)) for s in time]
        return torch.stack([problem.unflatten(change(*one)) for one in horizons])
    return problem.unflatten(change(steps, time))


class Problem:
    """The checked arguments in float64, with samples and outputs flattened: ``kernel [N, N]``, N = n C.

    Whoever solves it holds the kernel, a factor of it and a third matrix like it, such as the inverse, and two like
    ``kernel_eval``; what cannot fit is refused here.
    """

    def __init__(self, kernel, residual, kernel_eval, ridge):
        self.ridge = check.real("ridge", ridge, low=0)
        kernel, kernel_eval = check.as_tensor("kernel", kernel), check.as_tensor("kernel_eval", kernel_eval)
        what = f"three matrices {list(kernel.shape)} and two {list(kernel_eval.shape)} in float64"
        helps = "fewer training examples, or a part of kernel_eval at a time,"
        size = 8 * (3 * kernel.numel() + 2 * kernel_eval.numel())
        _memory.require("kernel, kernel_eval", what, size, kernel.device, helps)
        kernel, kernel_eval = check.float64("kernel", kernel), check.float64("kernel_eval", kernel_eval)
        self.four = kernel.ndim == 4
        if kernel.ndim not in (2, 4) or kernel.shape[: kernel.ndim // 2] != kernel.shape[kernel.ndim // 2 :]:
            raise ValueError(f"kernel must be [n, n] or [n, C, n, C], got shape {tuple(kernel.shape)}")
        own = kernel.shape[: kernel.ndim // 2]
        self.n, self.outputs = own[0], own[1] if self.four else 1
        if kernel_eval.ndim != kernel.ndim or kernel_eval.shape[1:] != (*own[1:], *own):
            wanted = ", ".join(map(str, ("m", *own[1:], *own)))
            raise ValueError(f"kernel_eval must be [{wanted}], got shape {tuple(kernel_eval.shape)}")
        residual = check.float64("residual", residual)
        self.shape = residual.shape
        if self.shape != own and not (self.outputs == 1 and self.shape == (self.n,)):
            raise ValueError(f"residual must be [{', '.join(map(str, own))}], got shape {tuple(self.shape)}")
        if self.n < 2:
            raise ValueError(f"kernel must hold at least 2 examples, got {self.n}")
        size = self.n * self.outputs
        self.kernel, self.residual = kernel.reshape(size, size), residual.reshape(size)
        self.kernel_eval = kernel_eval.reshape(-1, size)
        scale = self.kernel.diagonal().abs().max()
        asymmetry = (self.kernel - self.kernel.T).abs().max()
        if asymmetry > 1e-5 * scale:
            raise ValueError(f"kernel must be symmetric, got entries that differ by {asymmetry:.2g}")

    def units(self, groups) -> list[tuple[Tensor, Tensor]]:
        """The rows of each unit, batched by their number: pairs of places ``[u]`` and rows ``[u, b]``."""
        rows = torch.arange(self.n * self.outputs, device=self.kernel.device).reshape(self.n, self.outputs)
        if groups is None:
            return [(torch.arange(self.n, device=rows.device), rows)]
        groups = check.as_tensor("groups", groups).to(rows.device)
        if groups.is_floating_point():
            raise TypeError(f"groups must be integers, got {groups.dtype}")
        if groups.shape != (self.n,):
            raise ValueError(f"groups must be [{self.n}], one id per example, got shape {tuple(groups.shape)}")
        _, group, sizes = groups.unique(return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise ValueError("groups must hold at least 2 ids, got 1: nothing would be left to train on")
        members = torch.argsort(group, stable=True).split(sizes.tolist())
        batches = []
        for size in sizes.unique().tolist():
            places = (sizes == size).nonzero()[:, 0]
            batches.append((places, torch.stack([rows[members[place]].flatten() for place in places.tolist()])))
        return batches

    def eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending and clamped at 0, and eigenvectors of the kernel."""
        values, vectors = torch.linalg.eigh(self.kernel)
        if values[0] < -1e-5 * values[-1].abs():
            raise ValueError(f"kernel must be positive semi-definite, got an eigenvalue of {values[0]:.2g}")
        return values.clamp(min=0), vectors

    def unflatten(self, predictions: Tensor) -> Tensor:
        return predictions.reshape(*predictions.shape[:-1], -1, self.outputs) if self.four else predictions

    def result(self, units, blocks, leverage, condition) -> LeaveOneOut:
        """Puts the batches ``(residual [u, b], weight_shift [u], prediction_shift [mC, u])`` in order."""
        count = sum(len(places) for places, _ in units)
        residual, weight_shift = torch.empty_like(self.residual), self.residual.new_empty(count)
        one = len(blocks) == 1
        predictions = blocks[0][2] if one else self.residual.new_empty(len(self.kernel_eval), count)
        for (places, rows), (left_out, weights, shift) in zip(units, blocks, strict=True):
            residual[rows] = left_out
            weight_shift[places] = weights
            if not one:
                predictions[:, places] = shift
        return LeaveOneOut(
            residual.reshape(self.shape), leverage, weight_shift, self.unflatten(predictions.T), float(condition)
        )


def regularized_inverse(matrix: Tensor, ridge: float, helps: str) -> tuple[Tensor, Tensor]:
    """``(matrix + ridge I)^-1`` and the condition number of what is inverted, in the 1-norm.

    To be called by a public function itself, so that the warning names the line of that function's caller.

    Args:
        matrix: ``[N, N]``, symmetric and positive semi-definite.
        ridge: At least 0.
        helps: What the error about a singular matrix says is accepted.

    Raises:
        ValueError: A condition number above 1e15.

    Warns:
        IllConditionedWarning: A condition number above 1e12.

    Cost: one Cholesky factorization, O(N^3).

    Example:
        >>> inverse, condition = regularized_inverse(torch.diag(torch.tensor([3.0, 0.0])), 1.0, "a larger ridge")
        >>> inverse.diagonal(), condition
        (tensor([0.2500, 1.0000]), tensor(4.))
    """
    regular = matrix + ridge * torch.eye(len(matrix)).to(matrix)
    factor, failed = torch.linalg.cholesky_ex(regular)
    inverse = torch.cholesky_inverse(factor) if not failed else torch.full_like(regular, math.inf)
    condition = torch.linalg.matrix_norm(regular, 1) * torch.linalg.matrix_norm(inverse, 1)
    _refuse_singular(ridge, condition, helps)
    return inverse, condition


def _to_the_end(problem: Problem, units, inverse: Tensor, condition: Tensor) -> LeaveOneOut:
    a, cross = inverse @ problem.residual, problem.kernel_eval @ inverse
    blocks = []
    for _, rows in units:
        own = inverse[rows[:, :, None], rows[:, None, :]]
        e = _solve(own, a[rows])
        if rows.shape[1] == 1:
            squared = torch.linalg.vector_norm(inverse, dim=0)[rows, None] ** 2
            shift = cross[:, rows[:, 0]].mul_(-e[:, 0])
        else:
            columns = inverse[:, rows]  # [N, u, b]
            squared = torch.einsum("nub,nuc->ubc", columns, columns)
            shift = -torch.einsum("mub,ub->mu", cross[:, rows], e)
        weights = torch.einsum("ub,ubc,uc->u", e, own - problem.ridge * squared, e)
        blocks.append((e, weights, shift))
    return problem.result(units, blocks, _leverage(problem, inverse), condition)


def _leverage(problem: Problem, inverse: Tensor) -> Tensor:
    n, c = problem.n, problem.outputs
    own = inverse.reshape(n, c, n, c).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    leverage = torch.eye(c).to(own) - problem.ridge * own
    return leverage if problem.four else leverage[:, 0, 0]


def _finite(problem: Problem, units, learning_rate, steps, time, factor) -> LeaveOneOut:
    values, vectors = problem.eigen()
    largest, ridge = float(values[-1]), problem.ridge
    _refuse_divergence(values, ridge, learning_rate, 1.0)
    _refuse_divergence(values, ridge, learning_rate, factor)
    coordinates = vectors.T @ problem.residual
    # the left-out runs have their own rate or time
    g = _horizon(learning_rate, steps, time)
    left_rate, left_time = (learning_rate * factor, None) if time is None else (None, time * factor)
    g_left = _horizon(left_rate, steps, left_time)
    decays = _apply(g_left, values + ridge)
    _warn_if_ill((largest + ridge) * float(decays[0]), 4)  # t steps tell eigenvalues above 1 / g(0) apart
    a = decays * coordinates
    common = a - _apply(g, values + ridge) * coordinates
    fit = rational(lambda x: g_left(x + ridge), largest) if largest > 0 else None
    cross = problem.kernel_eval @ vectors
    blocks = []
    for _, rows in units:
        if fit is not None and fit.error <= _TOLERANCE:
            change = _by_poles(fit, values, vectors, coordinates, problem.residual, rows)
        elif steps is not None and steps <= len(values):  # it is quadratic in the steps
            change = _by_renewal(values + ridge, vectors, coordinates, rows, left_rate, steps)
        else:
            change = _one_by_one(problem, vectors, a, rows, g_left)
        own = vectors[rows] * values  # [u, b, N]
        left_out = problem.residual[rows] - torch.einsum("ubj,ju->ub", own, change + a[:, None])
        change += common[:, None]
        blocks.append((left_out, (values @ change**2), cross @ change))
    condition = (largest + ridge) / low if (low := float(values[0]) + ridge) > 0 else math.inf
    return problem.result(units, blocks, None, condition)


def _by_poles(fit, values, vectors, coordinates, residual, rows) -> Tensor:
    """``Q^T (a_-i - a)`` as ``[N, u]``: each pole p is a ridge problem, ridge ``-p``, trained to the end."""
    own = vectors[rows]  # [u, b, N]
    change = -fit.constant * torch.einsum("ubj,ub->ju", own, residual[rows])
    poles, residues = (torch.from_numpy(part).to(values.device) for part in (fit.poles, fit.residues))
    resolvents = 1 / (values[:, None] - poles)  # [N, P]
    if rows.shape[1] == 1:  # without a loop over poles
        q = vectors[rows[:, 0]]
        solved = _real_times_complex(q, resolvents * coordinates[:, None])
        e = solved / _real_times_complex(q * q, resolvents)
        weighted = resolvents * residues
        mixed = torch.cat([weighted.real, weighted.imag], 1) @ torch.cat([e.real, -e.imag], 1).T
        return change.sub_(mixed.mul_(q.T))
    for pole, residue in zip(resolvents.T, residues, strict=True):
        block = torch.complex((own * pole.real) @ own.mT, (own * pole.imag) @ own.mT)
        e = _solve(block, _real_times_complex(own, pole * coordinates)) * residue
        parts = [torch.einsum("ubj,ub->ju", own, part) for part in (e.real, e.imag)]
        change -= pole.real[:, None] * parts[0] - pole.imag[:, None] * parts[1]
    return change


def _by_renewal(decay, vectors, coordinates, rows, learning_rate, steps) -> Tensor:
    """``Q^T (a_-i - a)`` as ``[N, u]``: the full dynamics with a force on the rows I that keeps their duals at zero.

    A force u(s) at step s adds ``Q^T_I rho^(t-1-s) u(s)``; that the rows stay at zero is a triangular system in time.
    """
    rho = 1 - learning_rate * decay
    own = vectors[rows]  # [u, b, N]
    memory = [torch.einsum("ubj,j,ucj->ubc", own, rho**s, own) for s in range(1, steps)]
    forces: list[Tensor] = []
    dual, change = torch.zeros_like(coordinates), coordinates.new_zeros(len(rho), len(rows))
    for s in range(steps):
        dual = rho * dual + learning_rate * coordinates
        force = own @ dual
        for earlier, past in enumerate(forces):
            force = force + torch.einsum("ubc,uc->ub", memory[s - earlier - 1], past)
        forces.append(-force)
        change = rho[:, None] * change + torch.einsum("ubj,ub->ju", own, forces[-1])
    return change


def _one_by_one(problem: Problem, vectors, a, rows, g) -> Tensor:
    """``Q^T (a_-i - a)`` as ``[N, u]``, with an eigendecomposition for each unit."""
    change = -a[:, None].expand(-1, len(rows)).clone()
    for unit, left_out in enumerate(rows):
        keep = torch.ones(len(a), dtype=torch.bool, device=a.device)
        keep[left_out] = False
        values, own = torch.linalg.eigh(problem.kernel[keep][:, keep])
        dual = own @ (_apply(g, values.clamp(min=0) + problem.ridge) * (own.T @ problem.residual[keep]))
        change[:, unit] += vectors[keep].T @ dual
    return change


def _horizon(learning_rate, steps, time) -> Callable[[np.ndarray], np.ndarray] | None:
    """g, or ``None`` for training to the end."""
    if time is not None:
        if steps is not None or learning_rate is not None:
            raise ValueError("time: got it beside steps or learning_rate; accepted: time alone is gradient flow")
        if check.real("time", time, low=0) == 0:
            raise ValueError("time must be positive, got 0")
        return lambda x: flow(x, time)
    if steps is None:
        if learning_rate is not None:
            raise ValueError("learning_rate: got it without steps; accepted: both, or neither to train to the end")
        return None
    if learning_rate is None:
        raise ValueError("steps: got it without learning_rate; accepted: both, or neither to train to the end")
    count = check.count("steps", steps, 1)
    if check.real("learning_rate", learning_rate, low=0) == 0:
        raise ValueError("learning_rate must be positive, got 0")
    return lambda x: discrete(x, learning_rate, count)


def _apply(g, x: Tensor) -> Tensor:
    return torch.from_numpy(g(x.cpu().numpy())).to(x.device)


def _refuse_divergence(values, ridge, learning_rate, factor) -> None:
    limit = 2 / (float(values[-1]) + ridge) if values[-1] + ridge > 0 else math.inf
    if learning_rate is not None and learning_rate * factor > limit:
        times = "" if factor == 1 else f" times leave_out_factor {factor:g}"
        raise ValueError(
            f"learning_rate: got {learning_rate:g}{times}, and gradient descent diverges; accepted: at most "
            f"{limit:.3g}, 2 / (largest eigenvalue + ridge)"
        )


def _refuse_singular(ridge: float, condition, helps: str) -> None:
    if not condition < _SINGULAR:
        raise ValueError(
            f"kernel: got a singular matrix (condition number {condition:.1e}) trained to the end with ridge "
            f"{ridge:g}; accepted: {helps}"
        )
    _warn_if_ill(condition, 5)  # this function, what calls it, a public function, its caller


def _warn_if_ill(condition, stacklevel: int) -> None:
    if condition > _ILL:
        warnings.warn(
            f"the condition number is {condition:.1e}, so about {max(0, 16 - math.log10(condition)):.0f} digits are "
            "left; a larger ridge or a shorter horizon helps",
            IllConditionedWarning,
            stacklevel=stacklevel,
        )


def _solve(blocks: Tensor, right: Tensor) -> Tensor:
    if blocks.shape[-1] == 1:
        return right / blocks[..., 0]
    return torch.linalg.solve(blocks, right)


def _real_times_complex(left: Tensor, right: Tensor) -> Tensor:
    """A real matrix times a complex one or a vector, by real products."""
    return torch.complex(left @ right.real.contiguous(), left @ right.imag.contiguous())


def _sigma(sigma: float) -> float:
    if check.real("sigma", sigma, low=0) == 0:
        raise ValueError("sigma must be positive, got 0: without noise the information is 0 or infinite")
    return sigma
