"""What does training for a given time make of the residual, and how does a resolvent say the same?

Gradient descent on a linear model turns the initial residual ``r`` into dual coefficients ``g(A) r``, where
``A = K + ridge I`` and g depends on the horizon only::

    to the end       g(x) = 1 / x
    t steps          g(x) = (1 - (1 - eta x)^t) / x
    time s           g(x) = (1 - exp(-s x)) / x

``rational`` writes g as a constant plus simple poles. Each pole is a ridge problem that is trained to the end, for
which leave-one-out has a closed form, so that a finite horizon costs no more than some twenty infinite ones, however
long it is. Used by ``infocap.sample_information.leave_one_out``; derived in
book/sample_information/linearized_training.ipynb.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import AAA

__all__ = ["Rational", "discrete", "flow", "rational"]

Array = np.ndarray


def discrete(x: Array, learning_rate: float, steps: int) -> Array:
    """``(1 - (1 - eta x)^t) / x`` for ``0 <= eta x <= 2``, ``eta t`` at zero.

    Near zero the plain form loses all digits; ``expm1`` and ``log1p`` keep them.
    """
    z = learning_rate * x
    small = z < 0.5
    decayed = -np.expm1(steps * np.log1p(-np.where(small, z, 0.0)))
    oscillating = 1 - (1 - np.where(small, 1.0, z)) ** steps
    return _over_x(np.where(small, decayed, oscillating), x, learning_rate * steps)


def flow(x: Array, time: float) -> Array:
    """``(1 - exp(-s x)) / x`` for ``x >= 0``, ``s`` at zero."""
    return _over_x(-np.expm1(-time * x), x, time)


def _over_x(numerator: Array, x: Array, at_zero: float) -> Array:
    tiny = x <= 1e-300
    return np.where(tiny, at_zero, numerator / np.where(tiny, 1.0, x))


@dataclass(frozen=True)
class Rational:
    """``g(x) = constant + Re sum_k residues[k] / (x - poles[k])`` on an interval.

    Attributes:
        constant: Real.
        poles: ``[P]`` complex, none on the interval; of a conjugate pair only the upper one.
        residues: ``[P]`` complex, doubled for a conjugate pair.
        error: Largest error on points that the fit has not seen, relative to ``g(0) / (1 + g(0) x)``: the size of g
            without its oscillation, by which g may come down to 0.
    """

    constant: float
    poles: Array
    residues: Array
    error: float

    def __call__(self, x: Array) -> Array:
        return self.constant + (self.residues / (np.asarray(x)[..., None] - self.poles)).sum(-1).real


def rational(g: Callable[[Array], Array], largest: float) -> Rational:
    """Fits a positive function on ``[0, largest]`` by simple poles.

    The AAA algorithm (Nakatsukasa, Sete and Trefethen, 2018) places the poles; constant and residues are then refitted
    by least squares on the error relative to ``g(0) / (1 + g(0) x)``.

    Args:
        g: Smooth and not negative, positive at 0, evaluated on arrays.
        largest: Upper end of the interval, positive.

    Returns:
        The fit with its measured error.

    Cost: some milliseconds; 10 to 30 poles.

    Example:
        >>> fit = rational(lambda x: flow(x, 50.0), 1.0)
        >>> fit.error < 1e-9
        True
    """
    near = np.geomspace(1e-9, 0.5, 400)
    points = largest * np.unique(np.concatenate([[0.0], near, 1 - near, np.linspace(0, 1, 200), [1.0]]))
    values = g(points)
    if np.ptp(values) <= 1e-14 * values[0]:  # one step: AAA divides 0 by 0 on a constant
        return Rational(float(values[0]), np.empty(0, complex), np.empty(0, complex), float(np.ptp(values) / values[0]))
    size = values[0] / (1 + values[0] * points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AAA warns where it stops at rounding; the error below is what counts
        poles = AAA(points, values, rtol=2e-16, max_terms=40, clean_up=False).poles()
    poles = poles[np.isfinite(poles)]
    on_axis = np.abs(poles.imag) < 1e-13 * largest
    poles = np.where(on_axis, poles.real, poles)
    poles = poles[(poles.imag > 0) | (on_axis & ((poles.real < 0) | (poles.real > largest)))]
    terms = 1 / (points[:, None] - poles)
    upper = poles.imag > 0
    columns = np.concatenate([np.ones((len(points), 1)), terms.real, -terms.imag[:, upper]], 1) / size[:, None]
    scale = np.abs(columns).max(0)
    solution = np.linalg.lstsq(columns / scale, values / size, rcond=None)[0] / scale
    residues = solution[1 : 1 + len(poles)].astype(complex)
    residues[upper] += 1j * solution[1 + len(poles) :]
    fit = Rational(float(solution[0]), poles, residues, 0.0)
    between = (points[1:] + points[:-1]) / 2
    error = (np.abs(fit(between) - g(between)) * (1 / values[0] + between)).max()
    return Rational(fit.constant, poles, residues, float(error))
