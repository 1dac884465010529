"""Which examples are unusual? The scores that compete to find flipped labels, a file for each family.

A method is a function ``method(cell, problem) -> [n]``: from a ``Problem`` of
``infocap.experiments.sample_information.problem`` (a network at its initialization, training images with targets 0 and
1, evaluation images) it gives each training example a number, the larger the more unusual. Its name is what profiles
and figures say; columns of the table end with the name of the function.
"""

from infocap._registry import Registry

__all__ = ["METHODS", "method"]

METHODS = Registry(__name__, "METHODS", "method")
method = METHODS.register
