"""How hard are targets for a student, before it has learned anything?

The minimum-norm function that fits targets g at n inputs has the squared norm ``g^T K^-1 g``, K the student's tangent
kernel. Its root is the *supervision complexity* of g. It bounds the student's error at a margin, and it grows while
the teacher that says g trains.

Conventions that may surprise: a kernel ``[n, C, n, C]`` counts as nC x nC; results are float64; what counts as
singular depends on the kernel's dtype. ``infocap.distillation`` passes these names on. Setting: Harutyunyan et al.
(2023, arXiv 2301.12245); derived in book/distillation/supervision_complexity.ipynb.
"""

import math
import warnings
from dataclasses import dataclass

import scipy.linalg
import torch
from torch import Tensor

from infocap import _checks as check
from infocap.sample_information.closed_form import IllConditionedWarning

__all__ = [
    "ComplexityShares", "MarginBound", "adjusted_supervision_complexity", "class_averaged_kernel",
    "complexity_shares", "condition_number", "kernel_target_alignment", "margin_bound", "ntk_similarity",
    "supervision_complexity",
]  # fmt: skip

_OUTSIDE = 1e-8  # relative component of the targets outside the range of a singular kernel that is let pass
_NEAR = 10  # times its rounding errors: how near to singular a kernel may come unnoticed


def supervision_complexity(kernel: Tensor, targets: Tensor, initial: Tensor | None = None) -> Tensor:
    """The norm ``sqrt(g^T K^-1 g)`` of the simplest function that moves a student from its outputs to the targets.

    Args:
        kernel: ``[n, n]`` or ``[n, C, n, C]``, positive semi-definite; its dtype decides what counts as singular, so
            that ill-conditioned ones must be computed in float64.
        targets: ``[..., n]`` or ``[..., n, C]``; sets of targets stacked in front share one factorization.
        initial: The student's outputs at the start, of one set or of all: g is ``targets - initial``.

    Returns:
        ``[...]`` float64. For a singular kernel with the pseudo-inverse: eigenvalues are 0 up to ``max(N, 32) 2^-52``
        times the largest, or up to the precision of the kernel's dtype if that is more; N = nC.

    Raises:
        ValueError: Shapes that disagree, values that are not finite, a kernel that is not symmetric or has negative
            eigenvalues, or a g with a relative component above 1e-8 outside the range of the kernel.
        TypeError: Not numbers.

    Warns:
        IllConditionedWarning: An eigenvalue that counts is below 10 times that limit.

    Cost: a Cholesky factorization, N^3 / 3, and N^2 for each set; near singularity an eigendecomposition on the CPU,
    10 times slower. Memory beside a float64 kernel: 1.4 times the kernel, 2 times near singularity; another dtype
    takes one float64 copy more.

    Source: Harutyunyan et al. (2023, arXiv 2301.12245).

    Example:
        >>> kernel = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
        >>> supervision_complexity(kernel, torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
        tensor([1., 2.], dtype=torch.float64)
    """
    gram, own, rounding = _gram(kernel)
    return _energy(gram, rounding, _residual(own, gram, targets, initial)).sqrt()


def adjusted_supervision_complexity(kernel: Tensor, targets: Tensor, initial: Tensor | None = None) -> Tensor:
    """Free of the scale of the kernel and of the targets: ``sqrt(g^T K^-1 g Tr K / N) / ||g||``, N the length of g.

    It is 1 if K is a multiple of the identity, and ``sqrt(mean eigenvalue / eigenvalue)`` for an eigenvector. The
    normalization is this book's. Arguments, result, errors, cost as ``supervision_complexity``; g = 0 is a ValueError.

    Example:
        >>> kernel = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
        >>> adjusted_supervision_complexity(kernel, torch.tensor([[2.0, 0.0], [0.0, 2.0]])).square()
        tensor([0.6250, 2.5000], dtype=torch.float64)
    """
    gram, own, rounding = _gram(kernel)
    g = _nonzero(_residual(own, gram, targets, initial))
    return (_energy(gram, rounding, g) * gram.trace() / len(gram)).sqrt() / torch.linalg.vector_norm(g, dim=-1)


@dataclass(frozen=True)
class ComplexityShares:
    """How much of the squared supervision complexity is due to each example; ``[..., n]`` float64 each.

    Attributes:
        additive: ``g_i (K^-1 g)_i``, summed over the outputs of the example. They sum to the squared complexity; one
            may be negative.
        marginal: The squared complexity of all targets minus that of all but the example's. It is also the squared
            distance ``||w - w_-i||^2`` of the weights that fit all targets and all but the example's.
    """

    additive: Tensor
    marginal: Tensor


def complexity_shares(kernel: Tensor, targets: Tensor, initial: Tensor | None = None) -> ComplexityShares:
    """Splits ``g^T K^-1 g`` among the examples, in two ways.

    Arguments and errors as ``supervision_complexity``, apart from the kernel, which must be positive definite.

    Raises:
        ValueError: Also for a singular kernel.

    Cost: N^3; memory for two matrices beside the kernel.

    Source: this book; marginal shares are the leave-one-out solutions of ``infocap.sample_information`` without ridge.

    Example:
        >>> shares = complexity_shares(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, 5.0]))
        >>> shares.additive.round(decimals=6), shares.marginal.round(decimals=6)
        (tensor([-1., 15.], dtype=torch.float64), tensor([ 1.5000, 13.5000], dtype=torch.float64))
    """
    gram, own, rounding = _gram(kernel)
    g = _residual(own, gram, targets, initial)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed or _smallest(factor) <= _NEAR * rounding * torch.linalg.vector_norm(gram):
        raise ValueError(
            "kernel must be positive definite, got one that is singular up to rounding; a ridge on it helps"
        )
    inverse = torch.cholesky_inverse(factor)
    dual = g @ inverse
    n, outputs = own[0], own.numel() // own[0]
    place = torch.arange(n, device=gram.device)
    blocks = inverse.view(n, outputs, n, outputs)[place, :, place]  # [n, C, C]
    dual, g = (part.unflatten(-1, (n, outputs)) for part in (dual, g))
    left_out = torch.linalg.solve(blocks, dual[..., None])[..., 0]
    return ComplexityShares((g * dual).sum(-1), (dual * left_out).sum(-1))


def _gram(kernel: Tensor, name: str = "kernel") -> tuple[Tensor, torch.Size, float]:
    """A kernel as ``[N, N]`` in float64, the shape of its targets, its eigenvalues' errors relative to the largest."""
    dtype, kernel = check.as_tensor(name, kernel).dtype, check.float64(name, kernel)
    half = kernel.ndim // 2
    own = kernel.shape[:half]
    if kernel.ndim not in (2, 4) or own != kernel.shape[half:]:
        raise ValueError(f"{name} must be [n, n] or [n, C, n, C], got shape {tuple(kernel.shape)}")
    gram = kernel.reshape(own.numel(), -1)
    strips = range(0, len(gram), 256)  # no temporary of the kernel's size
    gap = max(float((gram[i : i + 256] - gram[:, i : i + 256].T).abs().max()) for i in strips)
    if gap > 1e-5 * gram.diagonal().abs().max():
        raise ValueError(f"{name} must be symmetric, got entries that differ by {gap:.2g}")
    return gram, own, max(max(len(gram), 32) * 2**-52, torch.finfo(dtype).eps if dtype.is_floating_point else 0)


def _residual(own: torch.Size, gram: Tensor, targets: Tensor, initial: Tensor | None = None) -> Tensor:
    """``targets - initial`` as ``[..., N]``."""
    g = check.float64("targets", targets).to(gram.device)
    if g.shape[-len(own) :] != own:
        raise ValueError(f"targets must be [..., {', '.join(map(str, own))}], got shape {tuple(g.shape)}")
    if initial is not None:
        start = check.float64("initial", initial).to(gram.device)
        if start.shape not in (own, g.shape):
            raise ValueError(f"initial must be shaped as one set of targets or as all, got shape {tuple(start.shape)}")
        g = g - start
    return g.flatten(-len(own))


def _nonzero(g: Tensor) -> Tensor:
    if (g == 0).all(-1).any():
        raise ValueError("targets must differ from initial (or from 0), got a set without any difference")
    return g


def _energy(gram: Tensor, rounding: float, g: Tensor) -> Tensor:
    """``g^T K^-1 g`` of targets ``[..., N]``."""
    near, columns = _NEAR * rounding, g.reshape(-1, len(gram)).T
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed and _smallest(factor) > near * torch.linalg.vector_norm(gram):  # rounding alone may let it succeed
        return torch.linalg.solve_triangular(factor, columns, upper=False).square().sum(0).reshape(g.shape[:-1])
    del factor
    values, vectors = scipy.linalg.eigh(gram.numpy(force=True), check_finite=False)  # torch's takes a copy more
    values, vectors = torch.from_numpy(values).to(gram), torch.from_numpy(vectors).to(gram)
    _refuse_negative(values, near)
    inside = values > rounding * values[-1]
    coordinates = (vectors.T @ columns).square()
    outside = (coordinates[~inside].sum(0) / columns.square().sum(0).clamp(min=1e-300)).sqrt().max()
    if outside > _OUTSIDE:
        raise ValueError(
            f"targets must lie in the range of a singular kernel, got a relative component of {float(outside):.1g} "
            f"outside it; accepted: up to {_OUTSIDE:g}. A kernel in float64, fewer inputs or a ridge on it helps"
        )
    if inside.any() and values[inside][0] < near * values[-1]:
        warnings.warn(
            f"the kernel has an eigenvalue of {values[inside][0] / values[-1]:.1e} times the largest, near its "
            "rounding errors; a kernel in float64, fewer inputs or a ridge on it helps",
            IllConditionedWarning,
            stacklevel=3,
        )
    return (coordinates[inside] / values[inside, None]).sum(0).reshape(g.shape[:-1])


def _smallest(factor: Tensor) -> Tensor:
    """About the smallest eigenvalue of ``factor factor^T``, from above, by inverse iteration."""
    vector = torch.randn(len(factor), 1, dtype=factor.dtype, generator=torch.Generator().manual_seed(0))
    vector = vector.to(factor.device)
    for _ in range(5):  # torch.cholesky_solve would copy the factor
        vector = torch.linalg.solve_triangular(factor, vector / torch.linalg.vector_norm(vector), upper=False)
        vector = torch.linalg.solve_triangular(factor.mT, vector, upper=True)
    return 1 / torch.linalg.vector_norm(vector)


def _refuse_negative(values: Tensor, tolerance: float) -> None:
    if values[0] < -tolerance * values.abs().max():
        raise ValueError(
            f"kernel must be positive semi-definite, got an eigenvalue of {values[0] / values.abs().max():.1e} times "
            "the largest; a kernel in float64 or a ridge on it helps if that is rounding"
        )


def condition_number(kernel: Tensor) -> float:
    """The largest over the smallest eigenvalue; infinite for a kernel that is singular to its rounding errors.

    The kernel and its errors are those of ``supervision_complexity``. Cost: the eigenvalues, and a copy.

    Example:
        >>> condition_number(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
        4.0
    """
    gram, _, rounding = _gram(kernel)
    values = torch.linalg.eigvalsh(gram)
    _refuse_negative(values, _NEAR * rounding)
    return float(values[-1] / values[0]) if values[0] > rounding * values[-1] else math.inf


def class_averaged_kernel(kernel: Tensor) -> Tensor:
    """A scalar kernel for networks with many outputs, ``1/C sum_c K[:, c, :, c]``.

    Takes ``[n, C, m, C]`` (another shape is a ValueError), returns ``[n, m]`` in the kernel's dtype. Beside it, targets
    ``[n, C]`` are C sets, ``targets.T``, and the squares of their complexities add up.

    Example:
        >>> class_averaged_kernel(torch.tensor([1.0, 0.0, 0.0, 3.0]).view(1, 2, 1, 2))
        tensor([[2.]])
    """
    if kernel.ndim != 4 or kernel.shape[1] != kernel.shape[3]:
        raise ValueError(f"kernel must be [n, C, m, C], got shape {tuple(kernel.shape)}")
    return kernel.diagonal(dim1=1, dim2=3).mean(-1)


def kernel_target_alignment(kernel: Tensor, targets: Tensor) -> Tensor:
    """The cosine of K and ``g g^T``, ``g^T K g / (||g||^2 ||K||_F)``: it weights what complexity divides by.

    Arguments and result as for ``supervision_complexity``; its errors, but for those of eigenvalues, and a ValueError
    for a kernel or targets of zeros. Source: Cristianini et al. (2001), *On kernel-target alignment*.

    Example:
        >>> kernel_target_alignment(torch.eye(4), torch.ones(4))
        tensor(0.5000, dtype=torch.float64)
    """
    gram, own, _ = _gram(kernel)
    g = _nonzero(_residual(own, gram, targets))
    return ((g @ gram) * g).sum(-1) / (g.square().sum(-1) * _norm("kernel", gram))


def _norm(name: str, gram: Tensor, least: float = 0.0) -> Tensor:
    norm = torch.linalg.vector_norm(gram)
    if norm <= least:
        raise ValueError(f"{name} must not be zero, got zeros only{', once it is centred' if least else ''}")
    return norm


@dataclass(frozen=True)
class MarginBound:
    """A bound on the probability of an error, and its three parts; the total may exceed 1, and then says nothing."""

    violations: float
    complexity: float
    confidence: float
    total: float


def margin_bound(kernel: Tensor, targets: Tensor, labels: Tensor, *, margin: float, delta: float) -> MarginBound:
    """Bounds the test error of the student that fits the targets with the least norm, with probability 1 - delta.

    With q = ``g^T K^-1 g``, kappa the largest diagonal entry of K, N = nC, and c = 2 for one output, c = 4 C for more::

        violations   the fraction of inputs at which the targets reach the label by at most ``margin``
        complexity   c (sqrt q + 1) / (margin n) sqrt(N kappa)
        confidence   3 sqrt(ln(2 M / delta) / (2 n)),  M = ceil(margin sqrt n / (c sqrt kappa)), at least 1

    A ball of radius R has empirical Rademacher complexity ``R sqrt(Tr K) / n``; the ramp loss contracts it by
    1 / margin, twice that enters. A union over the integer radii up to M gives ``sqrt q + 1`` and M; larger ones are
    vacuous. That needs ``N kappa``, equal to Tr K if the diagonal is constant, in place of Tr K; and kappa stands for
    the supremum over all inputs, which a sample may miss. Labels must not have shaped the kernel.

    For distillation pass the teacher's decisions as ``labels`` and add its own test error: the student errs only where
    the teacher does, or where the two differ. The teacher must not depend on these inputs.

    Args:
        kernel: As in ``supervision_complexity``.
        targets: ``[n]``, or ``[n, C]`` for a four-index kernel; they are also the student's outputs at the inputs.
        labels: ``[n]``: -1 or 1 for one output, else integers in [0, C - 1].
        margin: Positive.
        delta: In (0, 1).

    Raises:
        ValueError, TypeError: As ``supervision_complexity``; labels or numbers out of range, a kernel of zeros.

    Source: derived in the book, of the form in Harutyunyan et al. (2023); the constant 4 C follows the standard
        multiclass margin theorem, Mohri et al. (2018), *Foundations of Machine Learning*, chapter 9.

    Example:
        >>> labels = torch.tensor([1.0, -1.0]).repeat(200)
        >>> bound = margin_bound(labels[:, None] * labels, labels, labels, margin=0.9, delta=0.05)
        >>> round(bound.complexity, 3)  # 2 (1 + 1) / (0.9 * 400) * sqrt(400)
        0.222
    """
    gamma, delta = check.positive("margin", margin), check.positive("delta", delta)
    if delta >= 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    gram, own, rounding = _gram(kernel)
    g = _residual(own, gram, targets)
    n, outputs = own[0], own[1:].numel()
    if g.ndim != 1:
        raise ValueError(f"targets must be one set, shaped {tuple(own)}, got {len(g)} sets")
    if outputs == 1:
        y = check.float64("labels", labels).to(g.device)
        if y.shape != (n,) or not (y.abs() == 1).all():
            raise ValueError(f"labels must be [{n}] of -1 and 1 for one output, got shape {tuple(y.shape)}")
        reached = y * g
    else:
        y = check.labels(labels, outputs).long().to(g.device)
        if y.shape != (n,):
            raise ValueError(f"labels must be [{n}], got shape {tuple(y.shape)}")
        scores = g.view(n, outputs)
        others = scores.scatter(1, y[:, None], -math.inf)
        reached = scores.gather(1, y[:, None])[:, 0] - others.amax(1)
    _norm("kernel", gram)
    norm, kappa = math.sqrt(_energy(gram, rounding, g)), float(gram.diagonal().max())
    factor = 2 if outputs == 1 else 4 * outputs
    radii = max(1, math.ceil(gamma * math.sqrt(n / kappa) / factor))  # the quotient may underflow
    parts = (
        float((reached <= gamma).double().mean()),
        factor * (norm + 1) / (gamma * n) * math.sqrt(len(gram) * kappa),
        3 * math.sqrt(math.log(2 * radii / delta) / (2 * n)),
    )
    return MarginBound(*parts, sum(parts))


def ntk_similarity(kernel_a: Tensor, kernel_b: Tensor, centered: bool = False) -> float:
    """The cosine ``<K_a, K_b>_F / (||K_a||_F ||K_b||_F)`` of two kernels on one batch.

    Args:
        kernel_a, kernel_b: ``[n, n]`` or ``[n, C, n, C]``, which count as nC x nC; a zero or asymmetric one, or two
            shapes, are a ValueError.
        centered: Subtract the means of rows and columns first. That is CKA, Kornblith et al. (2019, arXiv 1905.00414).

    Example:
        >>> round(ntk_similarity(torch.eye(4), torch.ones(4, 4)), 4)
        0.5
    """
    (a, own, _), (b, others, _) = _gram(kernel_a, "kernel_a"), _gram(kernel_b, "kernel_b")
    if own != others:
        raise ValueError(f"kernel_b must be shaped as kernel_a, got targets of {tuple(others)} and {tuple(own)}")
    least = 0.0, 0.0
    if centered:
        least = (float(1e-12 * torch.linalg.vector_norm(k)) for k in (a, b))  # rounding leaves more than 0
        a, b = (k - k.mean(0) - k.mean(1, keepdim=True) + k.mean() for k in (a, b))
    norm_a, norm_b = map(_norm, ("kernel_a", "kernel_b"), (a, b), least)
    return float((a * b).sum() / (norm_a * norm_b))
