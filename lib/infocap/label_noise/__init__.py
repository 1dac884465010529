"""How does a classifier learn from wrong labels without storing them? LIMIT, and the losses it is compared with.

Each idea lies in a module of its own, and all of them are imported from here: LIMIT (``limit``), the score that finds
wrong labels (``detection``), losses that doubt implausible labels (``robust``), a model of the corruption
(``transition``), determinant mutual information (``dmi``), noise in the gradient (``gradient_noise``), LIMIT as a
penalty (``soft_penalty``), early-learning regularization (``early_learning``) and ``co_teaching``.

Conventions that may surprise: s and q are the softmax of the classifier and of the auxiliary network; distances sum
over classes, losses average over the batch, so MAE is ``2 (1 - p_y)``, twice the usual, and DMI is not divided by the
batch size. Losses keep the dtype of the logits, everything else returns float64. Losses work under ``torch.func``
transforms; inside ``vmap`` the values of labels and logits cannot be checked. Derived in book/noisy_labels/limit.ipynb.
"""

from infocap.label_noise.co_teaching import co_teaching_loss
from infocap.label_noise.detection import mislabel_score
from infocap.label_noise.dmi import dmi_loss
from infocap.label_noise.early_learning import EarlyLearningRegularization
from infocap.label_noise.gradient_noise import noisy_gradient_loss
from infocap.label_noise.limit import limit_losses, optimal_auxiliary
from infocap.label_noise.robust import gce_loss, mae_loss
from infocap.label_noise.soft_penalty import soft_penalty_loss
from infocap.label_noise.transition import estimate_transition, forward_loss

__all__ = [
    "EarlyLearningRegularization", "co_teaching_loss", "dmi_loss", "estimate_transition", "forward_loss", "gce_loss",
    "limit_losses", "mae_loss", "mislabel_score", "noisy_gradient_loss", "optimal_auxiliary", "soft_penalty_loss",
]  # fmt: skip
