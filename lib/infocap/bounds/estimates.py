"""What do predictions tell about the half that was trained on? Estimates from draws, and corrections of their bias.

Information is in nats. Used in book/generalization/fcmi.ipynb.
"""

import torch
from torch import Tensor

from infocap import _checks as check
from infocap.information import expected_mutual_information, mutual_information
from infocap.supersample import SupersampleRuns

__all__ = ["CORRECTIONS", "VARIABLES", "correct", "fcmi_bound", "row_information"]

VARIABLES = ("predictions", "errors", "difference", "error0", "error1")
CORRECTIONS = ("none", "miller-madow", "chance")

_TABLES = 2**22  # entries of a batch of contingency tables
_ROUNDING = 1e-13  # nats, far below one of k2 draws; the root would make 1e-8 of a zero that depends on the order


def row_information(runs: SupersampleRuns, variable: str = "predictions", correction: str = "none") -> Tensor:
    """What the predictions on a row tell about its selector, estimated for each row from the draws.

    Args:
        runs: With ``k2`` draws.
        variable: ``predictions``, the pair of predicted classes; ``errors``, the pair of errors ``(e0, e1)``;
            ``difference``, ``e1 - e0``; ``error0`` or ``error1``.
        correction: ``none`` is the plug-in estimate, exact for the empirical law. ``miller-madow`` subtracts
            ``(cells - rows - columns + 1) / (2 k2)``, counts of what was seen; ``chance`` subtracts the exact
            expectation of the plug-in estimate for independent variables with the same margins, which is too much if
            they are dependent. Corrected estimates are clipped at 0; a bound made of them is no certificate.

    Returns:
        ``[k1, n]`` float64, nats.

    Cost: O(k1 k2 n) and tables of ``2 num_classes^2`` entries for each row.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[1, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> row_information(runs)  # the predictions say which one was trained on
        tensor([[0.6931]], dtype=torch.float64)
    """
    check.choice("variable", variable, VARIABLES)
    check.choice("correction", correction, CORRECTIONS)
    values, size = _variable(runs, variable)
    rows = values.transpose(1, 2).flatten(0, 1) * 2 + runs.selectors.transpose(1, 2).flatten(0, 1)  # [k1 n, k2]
    estimates = []
    for part in rows.split(max(1, _TABLES // (2 * size))):
        counts = part.new_zeros(len(part), 2 * size).scatter_add_(1, part, torch.ones_like(part))
        counts = counts.unflatten(1, (size, 2))
        plug_in = mutual_information(counts)
        plug_in[plug_in < _ROUNDING] = 0.0
        estimates.append(correct(plug_in, counts, correction).clamp(min=0))
    return torch.cat(estimates).view(len(values), -1)


def _variable(runs: SupersampleRuns, name: str) -> tuple[Tensor, int]:
    """``[k1, k2, n]`` ids from 0, and how many there are."""
    if name == "predictions":
        return runs.predictions[..., 0] * runs.num_classes + runs.predictions[..., 1], runs.num_classes**2
    e0, e1 = runs.errors.unbind(-1)
    return {"errors": (2 * e0 + e1, 4), "difference": (e1 - e0 + 1, 3), "error0": (e0, 2), "error1": (e1, 2)}[name]


def correct(information: Tensor, counts: Tensor, correction: str) -> Tensor:
    """Plug-in estimates ``[T]`` of tables ``[T, values, 2]``, corrected as in ``row_information``, not clipped."""
    if correction == "miller-madow":
        seen = (counts > 0).sum((1, 2)) - (counts.sum(2) > 0).sum(1) - (counts.sum(1) > 0).sum(1) + 1
        return information - seen / (2 * counts.sum((1, 2)))
    if correction == "chance":  # depends on the margins only, which many tables share
        margins, place = torch.cat([counts.sum(2), counts.sum(1)], 1).unique(dim=0, return_inverse=True)
        first = place.new_empty(len(margins)).scatter_(0, place, torch.arange(len(place), device=place.device))
        return information - expected_mutual_information(counts[first])[place]
    return information


def fcmi_bound(runs: SupersampleRuns, correction: str = "none") -> Tensor:
    """The f-CMI bound for single rows: the mean over rows of ``sqrt(2 I)``, I from ``row_information``.

    Args:
        runs: As stored.
        correction: As in ``row_information``.

    Returns:
        ``[k1]`` float64. At most ``sqrt(2 ln 2)``.

    Source: Harutyunyan et al. (2021), theorem for subsets of size 1.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[1, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> fcmi_bound(runs)
        tensor([1.1774], dtype=torch.float64)
    """
    return (2 * row_information(runs, correction=correction)).sqrt().mean(1)
