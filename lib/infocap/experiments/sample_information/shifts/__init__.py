"""How far will a network move without an example? What competes to predict it, a file for each family.

A method is a function ``method(cell, run)`` of a cell of ``sample_information/retraining`` and a ``Run``, which has the
network before and after training and its data. It returns a number for each training example, ``[n]``, that stands
beside both real shifts, or two: for the shift of the weights, and for that of the predictions.
"""

from infocap._registry import Registry

__all__ = ["SHIFTS", "shift"]

SHIFTS = Registry(__name__, "SHIFTS", "method")
shift = SHIFTS.register
