"""How far can test loss exceed training loss when we may look at predictions only?

A *supersample* is a table of n rows with two examples each; a *selector*, one fair bit per row, says which of the two
is trained on, and the other one is the test. If the predictions tell little about the selector, training and test loss
cannot differ much. What they tell is estimated in ``estimates``, what follows from it lies in ``formulas``, and all
bounds on the same predictions are in ``registry``; every name is imported from here.

Conventions that may surprise: ``selectors[z, s, i]`` is 1 if column 1 of row ``i`` was trained on; the loss is the 0-1
loss; information is in nats, and the square root is taken for each row before averaging. Every bound is evaluated for
each supersample. If the selectors come with their complements (``complementary_selectors``), each certificate is at
least the measured gap for every supersample, and not only on average. Derived in book/generalization/fcmi.ipynb from
Harutyunyan et al. (2021, arXiv 2110.01584), and in book/generalization/tighter_bounds.ipynb.
"""

from infocap.bounds.estimates import CORRECTIONS, VARIABLES, correct, fcmi_bound, row_information
from infocap.bounds.formulas import (
    binary_kl_inverse,
    fast_rate_bound,
    interpolation_bound,
    linear_bound,
    sgld_bound,
    squared_stability_bound,
    stability_bound,
    vc_bound,
)
from infocap.bounds.intervals import bootstrap_interval
from infocap.bounds.registry import BOUNDS, Bound, all_bounds
from infocap.supersample import SupersampleRuns, complementary_selectors, generalization_gap

__all__ = [
    "BOUNDS", "CORRECTIONS", "VARIABLES", "Bound", "SupersampleRuns", "all_bounds", "binary_kl_inverse",
    "bootstrap_interval", "complementary_selectors", "correct", "fast_rate_bound", "fcmi_bound", "generalization_gap",
    "interpolation_bound", "linear_bound", "row_information", "sgld_bound", "squared_stability_bound",
    "stability_bound", "vc_bound",
]  # fmt: skip
