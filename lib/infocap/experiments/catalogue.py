"""Everything that the book measures, and everything that it claims."""

from pathlib import Path

import infocap
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
from infocap.experiments.sample_information import claims as sample_information_claims
from infocap.experiments.sample_information import detection, dynamics, retraining, summarization
from infocap.experiments.sample_information import toys as sample_information_toys
from infocap.experiments.synthesis import claims as synthesis_claims
from infocap.experiments.synthesis import measures
from infocap.experiments.synthesis import toys as synthesis_toys
from infocap.study import book
from infocap.study.catalogue import Catalogue
from infocap.study.claims import claims_of

__all__ = ["CATALOGUE", "Book"]


def _results() -> Path | None:
    """The stored tables of the checkout that holds the library, or of one around the working directory."""
    for root in (Path(infocap.__file__).parents[2], Path.cwd(), *Path.cwd().parents):
        if (root / "book" / "_toc.yml").exists() and (root / "book" / "results").is_dir():
            return root / "book" / "results"
    return None


CATALOGUE = Catalogue(
    tables={
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
    },
    claims=claims_of(
        noisy_labels_claims,
        sample_information_claims,
        generalization_claims,
        distillation_claims,
        synthesis_claims,
    ),
    profiles=Path(__file__).parent / "profiles",
    data_checksum=data.checksum,
    results=_results(),
)


class Book(book.Book):
    """All tables, claims and stored results of this book, as one chapter reads them.

    Args:
        profile: ``smoke``, ``quick``, ``evidence`` or ``full``.
        settings: Changes of it, as ``["noisy_labels.main.epochs=20"]``.
        store: Folder of finished cells; ``None`` is the user's cache.
        results: Folder of stored tables; ``None`` is that of the checkout, if this is one.

    Raises:
        ProfileError: The profile or a setting cannot be used; names the key and what is accepted.

    Example:
        >>> book = Book("quick", ["noisy_labels.main.epochs=20"])
        >>> book.profile.panels["noisy_labels/training"]["main"].cells[0].epochs
        20
    """

    def __init__(self, profile="quick", settings=(), store=None, *, results=None):
        super().__init__(CATALOGUE, profile, settings, store, results=results)
