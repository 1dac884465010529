"""What else is said to measure how much an example matters?

The baselines beside which sample information is read: influence functions, gradient norms, and confidences from
cross-validation. None of them trains without an example; each looks at the trained network and asks less::

    influence       w_-i - w  ~  H^-1 g_i          g_i the gradient of example i's loss, H the Hessian of the sum
    TracIn          sum over checkpoints of learning_rate ||g_i||^2
    GraNd, EL2N     ||g_i||,  ||f(x_i) - y_i||
    self-confidence p(y_i | x_i) of a network that was not trained on example i

Conventions: losses are half squared errors; ``targets`` are real numbers such as one-hot vectors, except the class ids
of ``self_confidence``; scores come back in float64.
Used in book/sample_information/unique_information.ipynb.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap import _checks as check
from infocap import _memory
from infocap.networks import seeded
from infocap.sample_information.closed_form import LeaveOneOut, Problem, regularized_inverse
from infocap.sample_information.scores import as_targets
from infocap.tangent import jacobian, ntk
from infocap.training.loop import predict
from infocap.training.many import fit_many

__all__ = ["Influence", "el2n", "gauss_newton_influence", "grand", "influence", "self_confidence", "tracin"]

_TOGETHER = 32  # examples per block of a kernel whose diagonal alone is needed


@dataclass(frozen=True)
class Influence:
    """First-order effects of removing each example; float64. The counterpart of ``LeaveOneOut``, with its methods.

    Attributes:
        weight_shift: ``[n]``, the estimate of ``||w_-i - w||^2``.
        prediction_shift: ``[n, m]``, or ``[n, m, C]``: the estimate of ``f_-i - f`` at the evaluation inputs.
    """

    weight_shift: Tensor
    prediction_shift: Tensor

    sample_information = LeaveOneOut.sample_information
    functional_sample_information = LeaveOneOut.functional_sample_information


def influence(kernel: Tensor, residual: Tensor, kernel_eval: Tensor, *, ridge: float) -> Influence:
    """Influence functions of a linearized network, trained to the end with a ridge penalty.

    The solution moves by ``H^-1 g_i`` when example i's weight in the loss falls from 1 to 0 at the rate it has at 1,
    with ``H = J^T J + ridge I``. The exact left-out solution differs by the leverage h: it has the left-out residual
    where this has the residual of the trained model, a factor ``I - h`` less, so that SI and F-SI come out too small
    by ``(1 - h)^2`` for one output, and are 0 for a network that interpolates (ridge 0).

    Args:
        kernel: ``[n, n]`` or ``[n, C, n, C]``, the tangent kernel of the training inputs.
        residual: ``[n]`` or ``[n, C]``, targets minus INITIAL outputs.
        kernel_eval: ``[m, n]`` or ``[m, C, n, C]``, between evaluation and training inputs.
        ridge: At least 0; as in ``leave_one_out``, for the SUM of the losses.

    Returns:
        The shifts for all examples.

    Raises:
        ValueError: Shapes that disagree, values that are not finite, or a singular kernel without ridge.
        MemoryError: As ``leave_one_out``.

    Warns:
        IllConditionedWarning: The condition number exceeds 1e12.

    Cost: one factorization, O((nC)^3), and products of O(n (nC)^2 + n m nC^2).

    Source: Koh and Liang (2017, arXiv 1703.04730), here without any approximation of the Hessian.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
        >>> out = influence(x @ x.T, torch.tensor([1.0, 2.0, 4.0]), x @ x.T, ridge=1.0)
        >>> out.prediction_shift[2]  # without the last point the slope falls from 17/15 to 5/6; this sees less of it
        tensor([-0.1200, -0.2400, -0.3600], dtype=torch.float64)
    """
    problem = Problem(kernel, residual, kernel_eval, ridge)
    inverse, _ = regularized_inverse(problem.kernel, problem.ridge, "a larger ridge")
    return _influence(problem, inverse, problem.ridge * (inverse @ problem.residual))


def gauss_newton_influence(
    model: nn.Module, inputs: Tensor, targets: Tensor, eval_inputs: Tensor, *, damping: float
) -> Influence:
    """Influence functions of a network at its current weights, with the Gauss-Newton matrix for the Hessian.

    For the MEAN over examples of half squared errors, ``H = J^T J / n + damping I``: removing example i moves the
    weights by about ``H^-1 g_i / n``, with ``g_i = J_i^T (f(x_i) - y_i)``. The system is solved among the n C outputs,
    through the tangent kernel, or among the d weights where they are fewer.

    Args:
        model: Any module with outputs ``[n, C]``, usually trained on the examples.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers.
        eval_inputs: ``[m, ...]``.
        damping: Positive; with a weight decay, add it here.

    Returns:
        The shifts for all examples; ``prediction_shift`` is ``[n, m]`` for one-dimensional targets.

    Raises:
        TypeError: Integer targets.
        ValueError: Shapes that disagree, a damping that is not positive, and as ``ntk``.
        MemoryError: The kernels, or the Jacobians, would not fit; says their size before they are allocated.

    Warns:
        IllConditionedWarning: The damping is too small for the digits of float64.

    Cost: two kernels, and then as ``influence``; with fewer weights two Jacobians, one factorization, O(d^3), and
    products of O(n C d^2 + n m C d).

    Source: Koh and Liang (2017, arXiv 1703.04730), section 4.2 for the damping.

    Example:
        >>> net = nn.Linear(1, 1).double()
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
        >>> gauss_newton_influence(net, x, net(x).detach(), x, damping=0.1).weight_shift  # nothing to learn
        tensor([0., 0., 0.], dtype=torch.float64)
    """
    if check.real("damping", damping, low=0) == 0:
        raise ValueError("damping must be positive, got 0")
    if eval_inputs.shape[1:] != inputs.shape[1:]:
        accepted = f"[m, *{list(inputs.shape[1:])}], as the inputs"
        raise ValueError(f"eval_inputs: got shape {list(eval_inputs.shape)}; accepted: {accepted}")
    residual, ridge = _residual(model, inputs, targets), len(inputs) * damping
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if weights < residual.numel():
        rows, rows_eval = _jacobians(model, inputs, eval_inputs, residual.shape[1] * weights)
        flat = rows.flatten(0, 1)
        inverse, _ = regularized_inverse(flat.T @ flat, ridge, "a larger damping")
        shifts = -torch.einsum("nc,ncd->nd", residual, rows) @ inverse
        found = Influence(shifts.square().sum(1), torch.einsum("nd,mcd->nmc", shifts, rows_eval))
    else:
        problem = Problem(ntk(model, inputs), residual, ntk(model, eval_inputs, inputs), ridge)
        inverse, _ = regularized_inverse(problem.kernel, ridge, "a larger damping")
        found = _influence(problem, inverse, problem.residual)
    return found if targets.ndim > 1 else Influence(found.weight_shift, found.prediction_shift[..., 0])


def _jacobians(model: nn.Module, inputs: Tensor, eval_inputs: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Derivatives ``[n, C, d]`` and ``[m, C, d]`` in float64, if they fit; ``size`` is C d."""
    what, size = "their Jacobians [n, C, d] and [m, C, d] in float64", 8 * (len(inputs) + len(eval_inputs)) * size
    _memory.require("inputs, eval_inputs", what, size, inputs.device, "fewer eval_inputs at a time")
    rows, rows_eval = (jacobian(model, x).double() for x in (inputs, eval_inputs))
    return rows, rows_eval


def _influence(problem: Problem, inverse: Tensor, fitted: Tensor) -> Influence:
    """Shifts ``J^T duals`` of the weights, with ``duals = -B[:, I] r_I`` for the residuals r of the trained model."""
    rows = problem.n, problem.outputs
    duals = -(inverse.unflatten(1, rows) * fitted.view(rows)).sum(2)  # [N, n]
    predictions = problem.unflatten((problem.kernel_eval @ duals).T)
    return Influence((duals * (problem.kernel @ duals)).sum(0), predictions)


def tracin(
    model: nn.Module,
    checkpoints: Iterable[Mapping[str, Tensor]],
    inputs: Tensor,
    targets: Tensor,
    *,
    learning_rate: float,
) -> Tensor:
    """TracIn's self-influence: how far steps on an example alone would have lowered its own loss.

    Args:
        model: The architecture, with outputs ``[n, C]``; its own weights play no part, and stay as they are.
        checkpoints: Weights by name, such as ``fit(..., keep=steps).checkpoints.values()``; buffers may be left out,
            and are then the model's.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers.
        learning_rate: At all checkpoints; it only rescales the scores.

    Returns:
        ``[n]`` in float64, the sum over checkpoints of ``learning_rate ||g_i||^2``, with g_i the gradient of half the
        squared error.

    Raises:
        TypeError: Integer targets.
        ValueError: No checkpoint, one without some of the parameters or with unknown ones, shapes that disagree.

    Cost: for each checkpoint C backward passes over the examples, and blocks of 32 x 32 examples of the kernel.

    Source: Pruthi et al. (2020, arXiv 2002.08484), TracInCP.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> x, y = torch.tensor([[1.0], [2.0]]), torch.zeros(2)
        >>> tracin(net, [{"weight": torch.ones(1, 1)}, {"weight": torch.zeros(1, 1)}], x, y, learning_rate=0.1)
        tensor([0.1000, 1.6000], dtype=torch.float64)
    """
    check.real("learning_rate", learning_rate, low=0)
    network, scores = copy.deepcopy(model), []
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    for place, checkpoint in enumerate(checkpoints):
        missing, unknown = sorted(trainable - set(checkpoint)), sorted(set(checkpoint) - set(model.state_dict()))
        if missing or unknown:
            fault = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}"
            raise ValueError(f"checkpoints: number {place} {fault}; accepted: the names of the model's parameters")
        network.load_state_dict(checkpoint, strict=False)
        scores.append(learning_rate * _squared_gradient_norms(network, inputs, targets))
    if not scores:
        raise ValueError("checkpoints: got none; accepted: at least one")
    return torch.stack(scores).sum(0)


def grand(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GraNd: the norm of the gradient of each example's loss, half its squared error, at the current weights.

    Args:
        model: Any module with outputs ``[n, C]``.
        inputs: ``[n, ...]``.
        targets: ``[n, C]``, or ``[n]`` for a single output; real numbers.

    Returns:
        ``[n]`` in float64. The paper averages over initializations; call it for each and take the mean.

    Raises:
        TypeError: Integer targets.
        ValueError: Shapes that disagree, and as ``ntk``.

    Cost: as one checkpoint of ``tracin``.

    Source: Paul et al. (2021, arXiv 2107.07075), with the squared error as the loss.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(net.weight)
        >>> grand(net, torch.tensor([[1.0], [2.0]]), torch.zeros(2))
        tensor([1., 4.], dtype=torch.float64)
    """
    return _squared_gradient_norms(model, inputs, targets).sqrt()


def _squared_gradient_norms(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """``||J_i^T r_i||^2 = r_i^T K_ii r_i``: of the kernel, the blocks on the diagonal."""
    norms = []
    for part, residual in zip(inputs.split(_TOGETHER), _residual(model, inputs, targets).split(_TOGETHER), strict=True):
        own = ntk(model, part).double().diagonal(dim1=0, dim2=2)  # [C, C, n]
        norms.append(torch.einsum("nc,cdn,nd->n", residual, own, residual))
    return torch.cat(norms)


def el2n(outputs: Tensor, targets: Tensor) -> Tensor:
    """EL2N: the norm of the error vector, which is GraNd without the Jacobian.

    Args:
        outputs: ``[n, C]`` or ``[n]``: predictions, or class probabilities for a classifier.
        targets: Shaped alike; real numbers.

    Returns:
        ``[n]`` in float64.

    Raises:
        TypeError: Integer targets.
        ValueError: Shapes that disagree or values that are not finite.

    Source: Paul et al. (2021, arXiv 2107.07075), averaged there over initializations.

    Example:
        >>> el2n(torch.tensor([[0.6, 0.2], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor([0.4472, 0.0000], dtype=torch.float64)
    """
    outputs, goal = check.float64("outputs", outputs), check.float64("targets", as_targets(targets))
    if outputs.ndim not in (1, 2) or goal.shape != outputs.shape:
        raise ValueError(
            f"targets: got shape {list(goal.shape)} for outputs {list(outputs.shape)}; accepted: both [n, C] or [n]"
        )
    return (outputs - goal).reshape(len(outputs), -1).norm(dim=1)


def self_confidence(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    labels: Tensor,
    *,
    optimizer: Callable[..., torch.optim.Optimizer],
    steps: int,
    batch_size: int,
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    """The probability that networks trained on other folds give to each example's own label.

    LOW confidence is suspicious: rank by ``1 - confidence`` to look for wrong labels.

    Args:
        build: Returns a new classifier with outputs ``[n, K]``, logits; called with torch's generator seeded.
        inputs: ``[n, ...]``.
        labels: ``[n]``, class ids.
        optimizer: As in ``fit_many``; cross-entropy is minimized.
        steps: Optimizer steps for each fold.
        batch_size: Examples per step.
        folds: Random parts of the data whose sizes differ by one at most, 2 to n.
        seed: Of the partition, and of the initialization, which all folds share; fold k visits its examples in the
            order of ``seed + k``.

    Returns:
        ``[n]`` in float64.

    Raises:
        ValueError: A number of folds or labels out of range, and as ``fit_many``.
        TypeError: Labels that are not integers.

    Cost: one training for each fold, together where that pays.

    Source: Northcutt et al. (2021, arXiv 1911.00068), whose confident learning starts from these probabilities.

    Example:
        >>> x = torch.linspace(-1, 1, 12)[:, None]
        >>> y = (x[:, 0] > 0).long()
        >>> y[0] = 1
        >>> scores = self_confidence(lambda: nn.Linear(1, 2), x, y, steps=50, batch_size=9, folds=4,
        ...                          optimizer=lambda weights: torch.optim.SGD(weights, lr=1.0))
        >>> scores.argmin()
        tensor(0)
    """
    n = len(inputs)
    if check.count("folds", folds, 2) > n:
        raise ValueError(f"folds: got {folds}; accepted: 2 to {n}, the number of examples")
    classes = predict(seeded(build, seed).to(inputs.device), inputs[:1]).shape[1]
    labels = check.labels(labels, classes).long()
    if labels.shape != (n,):
        raise ValueError(f"labels: got {len(labels)}; accepted: {n}, one for each input")
    parts = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tensor_split(folds)
    confidence = torch.empty(n, dtype=torch.float64, device=inputs.device)
    larger = n % folds  # as many parts hold one example more, and fit_many trains on subsets of one size
    for together in filter(len, [range(larger), range(larger, folds)]):
        rest = torch.stack([torch.cat([*parts[:k], *parts[k + 1 :]]).sort().values for k in together])
        many = fit_many(
            build, inputs, labels, rest, init_seeds=[seed] * len(rest), order_seeds=[seed + k for k in together],
            loss=cross_entropy, optimizer=optimizer, steps=steps, batch_size=batch_size,
            record=lambda step, logits: logits, record_at=[steps], eval_inputs=inputs,
        )  # fmt: skip
        for rows, logits in zip([parts[k] for k in together], many.records[steps], strict=True):
            rows = rows.to(inputs.device)
            confidence[rows] = logits[rows].double().softmax(1)[torch.arange(len(rows)), labels[rows]]
    return confidence


def _residual(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Targets minus current outputs, ``[n, C]`` in float64."""
    outputs, goal = predict(model, inputs), as_targets(targets)
    if goal.shape != outputs.shape and not (outputs.shape[1] == 1 and goal.shape == outputs.shape[:1]):
        raise ValueError(f"targets: got shape {list(goal.shape)}; accepted: {list(outputs.shape)}, as the outputs")
    return check.float64("residual", goal.double().reshape(outputs.shape) - outputs.double())
