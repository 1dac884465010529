"""The sizes of all experiments: one TOML file per profile, checked by these models, one module per part.

Every profile has the same keys. A panel of the larger data sets with ``seeds = []`` is not run in that profile, and the
book says so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from infocap.experiments.profiles.distillation import Distillation
from infocap.experiments.profiles.generalization import Generalization
from infocap.experiments.profiles.noisy_labels import NoisyLabels
from infocap.experiments.profiles.sample_information import SampleInformation
from infocap.experiments.profiles.strict import Strict
from infocap.experiments.profiles.synthesis import Synthesis
from infocap.study import profiles

__all__ = ["Profile", "load_profile"]


class Profile(Strict):
    """All sizes of the book."""

    name: str
    device: Literal["cpu", "cuda"]
    noisy_labels: NoisyLabels
    sample_information: SampleInformation
    generalization: Generalization
    distillation: Distillation
    synthesis: Synthesis


def load_profile(name: str = "quick", settings: Sequence[str] = ()) -> Profile:
    """Reads a profile of the book.

    Args:
        name: ``smoke``, ``quick`` or ``full``.
        settings: Changes, such as ``["noisy_labels.main.epochs=20"]``.

    Returns:
        The checked profile.

    Raises:
        ProfileError: One line that names the key, what came and what is accepted.

    Example:
        >>> load_profile("quick", ["noisy_labels.main.epochs=20"]).noisy_labels.main.epochs
        20
    """
    return profiles.load(Profile, Path(__file__).parent, name, settings)
