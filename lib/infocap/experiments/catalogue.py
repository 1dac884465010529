"""Everything that the book measures, by name, and the one call that chapters make."""

from types import ModuleType
from typing import Any

import joblib
import torch

from infocap import data
from infocap.experiments.distillation import claims as distillation_claims
from infocap.experiments.distillation import flips, supervision
from infocap.experiments.distillation import training as distillation_training
from infocap.experiments.generalization import claims as generalization_claims
from infocap.experiments.generalization import toys as generalization_toys
from infocap.experiments.generalization import training as generalization_training
from infocap.experiments.noisy_labels import claims as noisy_labels_claims
from infocap.experiments.noisy_labels import toys as noisy_labels_toys
from infocap.experiments.noisy_labels import training
from infocap.experiments.profiles import Profile, load_profile
from infocap.experiments.sample_information import claims as sample_information_claims
from infocap.experiments.sample_information import detection, dynamics, retraining, summarization
from infocap.experiments.sample_information import toys as sample_information_toys
from infocap.experiments.synthesis import claims as synthesis_claims
from infocap.experiments.synthesis import measures
from infocap.experiments.synthesis import toys as synthesis_toys
from infocap.study.claims import Claim
from infocap.study.store import Store
from infocap.study.sweep import Progress, Task, collect, sweep
from infocap.study.sweep import tasks as cells_of
from infocap.study.tables import Table

__all__ = ["CLAIMS", "TABLES", "compute", "load_profile", "table", "work"]

TABLES: dict[str, ModuleType] = {
    "noisy_labels/training": training,  # long cells first, so that workers end together and start at full size
    "noisy_labels/toys": noisy_labels_toys,
    "sample_information/retraining": retraining,
    "sample_information/summarization": summarization,
    "sample_information/detection": detection,
    "sample_information/dynamics": dynamics,
    "sample_information/toys": sample_information_toys,
    "generalization/training": generalization_training,
    "generalization/toys": generalization_toys,
    "distillation/training": distillation_training,
    "distillation/supervision": supervision,
    "distillation/flips": flips,
    "synthesis/measures": measures,
    "synthesis/toys": synthesis_toys,
}

CLAIMS: list[Claim] = [
    *noisy_labels_claims.CLAIMS,
    *sample_information_claims.CLAIMS,
    *generalization_claims.CLAIMS,
    *distillation_claims.CLAIMS,
    *synthesis_claims.CLAIMS,
]


def work(name: str, profile: Profile) -> list[Task]:
    """The cells of a table in a profile, with their keys."""
    return cells_of(name, TABLES[name], profile, data.checksum)


def compute(names: list[str], profile: Profile, store: Store, **options: Any) -> Progress:
    """Computes what the store lacks of some tables; ``options`` as in ``infocap.study.sweep.sweep``.

    Raises:
        ValueError: The profile wants a CUDA device, and neither this machine nor a cluster has one.
    """
    tasks = [task for name in names for task in work(name, profile)]
    on_cluster = type(joblib.parallel.get_active_backend()[0]).__name__ == "DaskDistributedBackend"
    nowhere = profile.device == "cuda" and not on_cluster and not torch.cuda.is_available()
    if nowhere and any(task.key and task.key not in store for task in tasks):
        raise ValueError("device: got 'cuda', and this machine has none; accepted: --set device=cpu")
    return sweep(tasks, {name: TABLES[name].measure for name in names}, store, **options)


def table(name: str, profile: Profile, store: str | None = None) -> Table:
    """A table of the book: cells that the store holds are read, the others are computed first.

    Args:
        name: A key of ``TABLES``, such as ``noisy_labels/training``.
        profile: From ``load_profile``.
        store: Folder of the store; ``None`` is the user's cache folder.

    Returns:
        One row per cell.

    Raises:
        SweepError: Some cells failed.

    Cost: ``quick``, all of part 1: minutes on two cores for the first call, then under a second.
    """
    place = Store(store)
    compute([name], profile, place)
    return collect(name, profile.name, work(name, profile), place, profile.device)
