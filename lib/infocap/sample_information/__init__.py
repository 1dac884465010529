"""How much does one example tell a network that no other example does?

The sample information of an example is the divergence between what training gives with it and without it, once both
are smoothed by Gaussian noise: on the weights (SI) or on the predictions (F-SI). For a linearized network both follow
in closed form, for all examples at once and for any horizon of training.

Conventions that may surprise: training minimizes the SUM of half squared errors plus ``ridge/2 ||w - w0||^2``, so that
weights decay towards the initialization; ``residual`` is targets minus INITIAL outputs; information is in nats; solves
run in float64. Derived in book/sample_information/unique_information.ipynb from Harutyunyan et al. (2021, arXiv
2101.06640).
"""

from infocap.sample_information.closed_form import IllConditionedWarning, LeaveOneOut, leave_one_out, train_linearized
from infocap.sample_information.retraining import (
    LinearizationQuality,
    Retrained,
    linearization_quality,
    retrain_leave_one_out,
)
from infocap.sample_information.scores import sample_scores, sgd_covariance, smooth_sample_information

__all__ = [
    "IllConditionedWarning", "LeaveOneOut", "LinearizationQuality", "Retrained", "leave_one_out",
    "linearization_quality", "retrain_leave_one_out", "sample_scores", "sgd_covariance", "smooth_sample_information",
    "train_linearized",
]  # fmt: skip
