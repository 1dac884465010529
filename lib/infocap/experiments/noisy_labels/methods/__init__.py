"""How does one learn from noisy labels? A file for each family of methods, found by the names in their decorators.

A method is a function ``method(cell, split) -> Fit``: it trains on ``split`` with the settings of ``cell``, most simply
by ``infocap.experiments.noisy_labels.training.train``. Its name is what profiles, figures and tables say. ``shows``
names the hyper-parameters that they print beside it.
"""

from infocap._registry import Registry

__all__ = ["METHODS", "method"]

METHODS = Registry(__name__, "METHODS", "method")
method = METHODS.register
