"""How is a network trained, once, or many times over?

``fit`` is the one training loop of the book: each method of each part is a loss that it minimizes. ``fit_many`` trains
many small networks of one architecture, equal to calling ``fit`` for each, and faster where batching pays. Beside them
are ``predict``, two optimizers, and ``gradient_variance``; all of them are imported from here.

Conventions: data are tensors already in memory; ``steps`` counts optimizer steps; an epoch visits each example once in
an order drawn from ``generator``, and its last batch may be smaller. Step 0 is the state before training. Random
layers such as dropout follow ``generator`` too, and torch's global generators are left as they were.
Used throughout the book, first in book/noisy_labels/memorization.ipynb.
"""

from infocap.training.gradients import gradient_variance
from infocap.training.loop import Fit, fit, predict
from infocap.training.many import BATCHED_BELOW, Fits, fit_many
from infocap.training.optimizers import SGLD, AnchoredSGD

__all__ = [
    "BATCHED_BELOW", "SGLD", "AnchoredSGD", "Fit", "Fits", "fit", "fit_many", "gradient_variance", "predict",
]  # fmt: skip
