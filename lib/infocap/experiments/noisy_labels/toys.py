"""Are the chapter's bounds true, and how tight are they? One table of toys that are solved exactly, none by sampling.

| toy | parameter | what is exact |
|---|---|---|
| ``store_m_labels`` | m | 4 labels, 4 classes, uniform noise 0.6: the weights hold m labels, the rest gets the mode |
| ``channel`` | e | one label, 10 classes, uniform noise 0.8: the weights hold it, or with probability e another one |
| ``gibbs`` | tau | 4 labels, 3 classes, uniform noise 0.5: weights drawn as ``exp(-tau errors)`` from 20 labelings |
| ``minimum_error_rate`` | p | the smallest error rate against stored information, 10 classes, uniform noise p |
| ``variational`` | sigma | information in the gradient at the logits plus noise N(0, sigma^2 I), and three bounds |
| ``capacity`` | snr | information in a sign plus Gaussian noise, and the Gaussian capacity above it |
| ``auxiliary_gaussian``, ``auxiliary_laplace`` | beta | the optimal auxiliary prediction for one input |

Conventions that may surprise: information is in nats; errors are counted against the training labels; class 0 is the
true class everywhere. Drawn in book/noisy_labels/memorization.ipynb and limit.ipynb.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap.information import binary_entropy, entropy, minimum_error_rate, mutual_information
from infocap.label_noise.limit import optimal_auxiliary
from infocap.noise import uniform_transition

_PARAMETERS = {
    "store_m_labels": range(5),
    "channel": (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9),
    "gibbs": (0.0, 0.5, 1.0, 2.0, 4.0, 50.0),
    "minimum_error_rate": (0.2, 0.4, 0.6, 0.8),
    "variational": (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0),
    "capacity": (0.1, 0.5, 1.0, 2.0, 4.0, 8.0),
    "auxiliary_gaussian": (0.0, 0.3, 1.0, 3.0, 10.0, 30.0),
    "auxiliary_laplace": (0.0, 0.3, 1.0, 3.0, 10.0, 30.0),
}

# The truth and 19 other labelings of four examples, drawn once without replacement.
LABELINGS = "0000 1020 0200 2011 1212 1200 2010 1112 0111 1102 0002 2202 0020 2111 0010 1222 1202 1201 0210 1121"


@dataclass(frozen=True)
class Cell:
    """One toy at one value of its parameter (see the table above)."""

    toy: str
    parameter: float


PANELS = {toy: [Cell(toy, float(parameter)) for parameter in values] for toy, values in _PARAMETERS.items()}


def measure(cell: Cell) -> dict:
    """The numbers of one cell; which ones depends on its toy."""
    return _MEASURES[cell.toy](cell.parameter)


def all_labels(n: int, num_classes: int) -> Tensor:
    """Every label vector, ``[K^n, n]``, in lexicographic order."""
    return torch.cartesian_prod(*[torch.arange(num_classes)] * n).reshape(-1, n)


def measure_learner(labels: Tensor, row: Tensor, learner: Tensor, predictions: Tensor) -> dict:
    """Information and errors of a learner, summed over all label vectors and weights.

    ``labels [Y, n]`` are all label vectors, each label drawn from ``row [K]``; ``learner [Y, W]`` is P(w | y) and
    ``predictions [W, n]`` what w predicts.
    """
    n, num_classes = labels.shape[1], len(row)
    joint = row[labels].prod(1, keepdim=True) * learner
    information = mutual_information(joint)
    wrong = (labels[:, None] != predictions).double()
    error_rates = torch.einsum("yw,ywi->i", joint, wrong)
    fresh_error = joint.sum(0) @ (1 - row[predictions]).mean(1)
    noise = entropy(row)
    fano_errors = (n * noise - information - binary_entropy(error_rates).sum()) / math.log(num_classes - 1)
    return {
        "num_labels": n,
        "noise_entropy": noise.item(),
        "information": information.item(),
        "expected_errors": error_rates.sum().item(),
        "fano_errors": fano_errors.item(),
        "minimum_error_rate": minimum_error_rate(noise, information / n, num_classes).item(),
        "gap": (fresh_error - error_rates.mean()).item(),
        # Xu and Raginsky (2017); a 0/1 loss is 1/2-sub-Gaussian
        "gap_bound": (information / (2 * n)).sqrt().item(),
    }


def store_m_labels(m: float) -> dict:
    """Weights that hold the first m labels and guess the mode for the rest."""
    n, num_classes = 4, 4
    labels = all_labels(n, num_classes)
    stored = labels * (torch.arange(n) < m)  # class 0 is the mode
    index = stored @ num_classes ** torch.arange(n - 1, -1, -1)
    return measure_learner(
        labels, uniform_transition(num_classes, 0.6)[0], F.one_hot(index, len(labels)).double(), labels
    )


def channel(flip: float) -> dict:
    """Weights that hold one label, or with probability ``flip`` another one."""
    labels = all_labels(1, 10)
    return measure_learner(labels, uniform_transition(10, 0.8)[0], uniform_transition(10, flip), labels)


def gibbs(tau: float) -> dict:
    """Weights drawn as ``exp(-tau errors)`` from a fixed list of labelings."""
    labels = all_labels(4, 3)
    predictions = torch.tensor([[int(label) for label in labeling] for labeling in LABELINGS.split()])
    errors = (labels[:, None] != predictions).sum(-1).double()
    return measure_learner(labels, uniform_transition(3, 0.5)[0], torch.softmax(-tau * errors, -1), predictions)


def least_errors(rate: float) -> dict:
    """The smallest error rate against stored information."""
    noise = entropy(uniform_transition(10, rate)[0])
    information = noise * torch.linspace(0, 1, 41, dtype=torch.float64)
    return {
        "noise_entropy": noise.item(),
        "information": information.tolist(),
        "error_rate": minimum_error_rate(noise, information, 10).tolist(),
    }


def normal_nodes(step: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights for the mean over a standard normal variable.

    The trapezoidal rule is exponentially accurate for smooth functions on the line; the mass beyond 10 is 1e-23.
    """
    x = torch.arange(-10, 10 + step / 2, step, dtype=torch.float64)
    weights = torch.exp(-(x**2) / 2)
    return x, weights / weights.sum()


def variational(sigma: float) -> dict:
    """The gradient is ``s - onehot(y) + sigma eps``; s is known, so it tells as much as ``g = onehot(y) + sigma eps``.

    As all onehot(k) have the same length, ``p(g | y) / p(g) = exp(g_y / sigma^2) / S``, S the sum over k of
    ``P_k exp(g_k / sigma^2)``. So ``I(g; y) = 1 / sigma^2 - E ln S``, and the logarithm of a sum of independent terms
    follows from Frullani's integral over the line, ``E ln S = int (exp(-e^u) - E exp(-e^u S)) du``, whose second term
    is a product.
    """
    row = uniform_transition(10, 0.6)[0]
    x, weights = normal_nodes(min(0.1, 0.2 * sigma))
    # outside these ends both terms are 1, or both are 0, to rounding
    low, high = -(1 / sigma**2 + 10 / sigma) - 40, 10 / sigma - row.min().log().item() + 5
    step = 0.2
    u = torch.arange(low, high, step, dtype=torch.float64)

    def transform(log_scale: Tensor) -> Tensor:
        """``E exp(-e^u c exp(eps / sigma))`` at each u, for ln c = ``log_scale``."""
        return torch.exp(-torch.exp((u + log_scale)[:, None] + x / sigma)) @ weights

    factors = [transform(p.log()) for p in row]
    mean_log_sum = 0.0
    for y in range(2):  # all wrong classes are alike
        others = math.prod(factor for k, factor in enumerate(factors) if k != y)
        integrand = torch.exp(-u.exp()) - others * transform(row[y].log() + 1 / sigma**2)
        mean_log_sum += (row[0] if y == 0 else 1 - row[0]).item() * step * integrand.sum().item()

    def bound(q: Tensor) -> float:
        """``E ||onehot(y) - q||^2 / (2 sigma^2)``."""
        return ((1 - 2 * row @ q + q @ q) / (2 * sigma**2)).item()

    prediction = torch.full_like(row, 1 / len(row))
    squared_length = 1 - 1 / len(row)  # of s - onehot(y), for the uniform s
    return {
        "label_entropy": entropy(row).item(),
        "information": 1 / sigma**2 - mean_log_sum,
        "bound_posterior": bound(row),
        "bound_prediction": bound(prediction),
        "bound_capacity": len(row) / 2 * math.log1p(squared_length / (len(row) * sigma**2)),
    }


def capacity(snr: float) -> dict:
    """A sign plus Gaussian noise, and the Gaussian capacity above its information."""
    x, weights = normal_nodes(0.01)
    information = math.log(2) - F.softplus(-2 * (snr + math.sqrt(snr) * x)) @ weights
    return {"information": information.item(), "bound_capacity": math.log1p(snr) / 2}


def auxiliary(kind: str, beta: float) -> dict:
    """The optimal auxiliary prediction for one input."""
    noisy, prediction = [0.5, 0.25, 0.25], [0.2, 0.3, 0.5]
    auxiliary = optimal_auxiliary(noisy, prediction, beta=beta, kind=kind)
    return {
        "label_distribution": noisy,
        "prediction": prediction,
        "auxiliary": auxiliary.tolist(),
        "predicted_gradient": (torch.tensor(prediction, dtype=torch.float64) - auxiliary).tolist(),
    }


_MEASURES = {
    "store_m_labels": store_m_labels,
    "channel": channel,
    "gibbs": gibbs,
    "minimum_error_rate": least_errors,
    "variational": variational,
    "capacity": capacity,
    "auxiliary_gaussian": lambda beta: auxiliary("gaussian", beta),
    "auxiliary_laplace": lambda beta: auxiliary("laplace", beta),
}
