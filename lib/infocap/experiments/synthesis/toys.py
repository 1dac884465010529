"""Table ``synthesis/toys``: every information of the four parts, exactly, for learners that can be enumerated.

An example is a bit x and a label bit y that equals x with probability .8. A hypothesis is one of the four functions
from x to a label. ``gibbs`` draws it with weight ``exp(-strength * training errors)``; ``random`` is a learner without
any sense, whose log-weights for each training set are independent Gaussians times ``strength``.

Conventions that may surprise: all informations are nats *per example*, sums over examples divided by n; those of the
supersample are means over supersamples. Drawn in book/synthesis/one_picture.ipynb.
"""

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from infocap.experiments.streams import stream
from infocap.information import mutual_information
from infocap.study.fields import NonNegative

__all__ = ["Cell", "measure"]

_NOISE = 0.2
_EXAMPLES = torch.tensor(
    [(1 - _NOISE) / 2, _NOISE / 2, _NOISE / 2, (1 - _NOISE) / 2], dtype=torch.float64
)  # z = 2 x + y
_PREDICTIONS = torch.arange(4)[:, None] >> torch.arange(2) & 1  # [w, x]
_ERRORS = (_PREDICTIONS[:, torch.arange(4) // 2] != torch.arange(4) % 2).double()  # [w, z]


PANEL = "learner"
GRID = {"sizes": "n", "strengths": "strength", "seeds": "seed"}


@dataclass(frozen=True)
class Cell:
    """One learner on training sets of n examples; ``seed`` decides the random ones."""

    learner: Literal["gibbs", "random"]
    n: Annotated[int, Field(ge=2, le=3)]
    strength: NonNegative = 1.0
    seed: int = 0


def measure(cell: Cell) -> dict[str, Any]:
    """Nats per example of everything in the chain, the expected gap, and the f-CMI bound on it."""
    n = cell.n
    learner, shorter = law(cell, n), law(cell, n - 1)
    return of_training_set(learner, shorter) | of_supersample(learner) | {"gap": gap(learner)}


def law(cell: Cell, size: int) -> Tensor:
    """``p(w | S)``, ``[4, ..., 4, 4]`` with one axis for each example and the last for the hypothesis."""
    if cell.learner == "random":
        generator = stream(f"toy learner {size}", cell.seed)
        scores = cell.strength * torch.randn((4,) * (size + 1), dtype=torch.float64, generator=generator)
    else:
        sets = torch.tensor(list(product(range(4), repeat=size)), dtype=torch.long).view((4,) * size + (size,))
        scores = -cell.strength * _ERRORS[:, sets].sum(-1).movedim(0, -1)
    return scores.softmax(-1)


def of_training_set(learner: Tensor, shorter: Tensor) -> dict[str, float]:
    """What the hypothesis knows of labels, of examples, and of single ones, without a supersample.

    Args:
        learner: ``p(w | S)`` for n examples.
        shorter: The same for n - 1.
    """
    n = learner.ndim - 1
    joint = sets(n)[..., None] * learner
    split = joint.view((2,) * (2 * n) + (4,))  # x_1, y_1, ..., x_n, y_n, w
    inputs, labels = range(0, 2 * n, 2), range(1, 2 * n, 2)
    unique, label_unique, single, sample = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        moved = joint.movedim(i, -2)
        unique += conditional(moved.reshape(-1, 4, 4))
        single += float(mutual_information(moved.reshape(-1, 4, 4).sum(0)))
        label_unique += conditional(split.movedim(labels[i], -2).reshape(-1, 2, 4))
        sample += float((moved * (learner.movedim(i, -2) / shorter[..., None, :]).log()).sum())
    return {
        "label": conditional(split.permute(*inputs, *labels, 2 * n).reshape(2**n, 2**n, 4)) / n,
        "label_unique": label_unique / n,
        "single": single / n,
        "total": float(mutual_information(joint.reshape(-1, 4))) / n,
        "unique": unique / n,
        "sample": sample / n,
    }


def of_supersample(learner: Tensor) -> dict[str, float]:
    """What the hypothesis, and what its predictions, know of the selectors, jointly and row by row."""
    n = learner.ndim - 1
    tables = torch.tensor(list(product(range(4), repeat=2 * n))).view(-1, n, 2)  # [T, n, 2], all supersamples
    selectors = torch.tensor(list(product(range(2), repeat=n)))  # [J, n]
    chosen = tables[:, torch.arange(n), selectors]  # [T, J, n]
    joint = sets(2 * n).view(-1, 1, 1) / 2**n * learner[tuple(chosen.unbind(-1))]  # [T, J, W]
    predicted = _PREDICTIONS[:, tables // 2]  # [W, T, n, 2]
    patterns = (predicted * torch.tensor([2, 1])).sum(-1).permute(1, 2, 0)  # [T, n, W], both predictions on a row
    everything = (patterns * 4 ** torch.arange(n)[:, None]).sum(1)  # [T, W], all predictions
    row, row_unique, row_f, bound = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        by_row = joint.view(-1, *(2,) * n, 4).movedim(1 + i, -2)  # [T, 2, ..., 2, J_i, W]
        row += conditional(by_row.reshape(len(tables), -1, 2, 4).sum(1))
        row_unique += conditional(by_row.reshape(-1, 2, 4))
        seen = grouped(by_row.reshape(len(tables), -1, 2, 4).sum(1), patterns[:, i], 4)
        row_f += conditional(seen)
        weights = seen.sum((1, 2))
        bound += float((weights * (2 * mutual_information(seen / weights[:, None, None])).sqrt()).sum())
    return {
        "cmi": conditional(joint) / n,
        "row": row / n,
        "row_unique": row_unique / n,
        "f_cmi": conditional(grouped(joint, everything, 4**n)) / n,
        "row_f": row_f / n,
        "bound": bound / n,
    }


def gap(learner: Tensor) -> float:
    """Expected risk minus expected training error."""
    n = learner.ndim - 1
    joint = sets(n)[..., None] * learner
    risk = (joint.sum(tuple(range(n))) * (_ERRORS @ _EXAMPLES)).sum()
    trained = sum((joint.movedim(i, -2).reshape(-1, 4, 4).sum(0) * _ERRORS.T).sum() for i in range(n)) / n
    return float(risk - trained)


def sets(size: int) -> Tensor:
    """Probabilities of all sequences of independent examples, ``[4, ..., 4]``."""
    probabilities = torch.ones((), dtype=torch.float64)
    for _ in range(size):
        probabilities = probabilities[..., None] * _EXAMPLES
    return probabilities


def conditional(joint: Tensor) -> float:
    """``I(B; C | A)`` of a table ``[A, B, C]`` of probabilities, all A possible."""
    weights = joint.sum((1, 2))
    return float((weights * mutual_information(joint / weights[:, None, None])).sum())


def grouped(joint: Tensor, values: Tensor, count: int) -> Tensor:
    """``[T, J, W]`` and a function ``[T, W]`` of W given T, to the table ``[T, J, count]`` of its values."""
    empty = torch.zeros(*joint.shape[:2], count, dtype=joint.dtype)
    return empty.scatter_add_(2, values[:, None].expand(-1, joint.shape[1], -1), joint)
