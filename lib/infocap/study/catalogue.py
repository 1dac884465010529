"""What does a study measure, and what does it claim?

A catalogue holds the tables of a study by name, its claims, and the folder of its profiles. The command line, the book
and the tests ask it for cells, compute those that are missing, and read tables.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import torch

from infocap.study import profiles, stored
from infocap.study.claims import Claim
from infocap.study.profiles import Profile
from infocap.study.store import Store
from infocap.study.sweep import Progress, Task, collect, sweep, tasks
from infocap.study.tables import Table

__all__ = ["Catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """The tables and claims of one study.

    Attributes:
        tables: Modules by name ``part/table``, see ``infocap.study.profiles.load``; ``measure(cell)`` computes.
        claims: All claims, in the order of the scorecard.
        profiles: Folder of the TOML files.
        data_checksum: Identifies the data that a cell names; a ``ValueError`` says that it is not at hand.
        results: Folder with a folder of stored tables for each profile that has some; ``None`` where there is none.
    """

    tables: Mapping[str, ModuleType]
    claims: Sequence[Claim]
    profiles: Path
    data_checksum: Callable[[str], str] = field(default=lambda data: "")
    results: Path | None = None

    def load_profile(self, name: str = "quick", settings: Sequence[str] = ()) -> Profile:
        """Reads a profile; raises ``ProfileError``, one line that names the key, what came and what is accepted."""
        return profiles.load(self.tables, self.profiles, name, settings)

    def names(self) -> list[str]:
        """The profiles that there are."""
        return profiles.names(self.profiles)

    def work(self, name: str, profile: Profile) -> list[Task]:
        """The cells of a table in a profile, with their keys, and with what the book keeps of them."""
        found = {}
        if self.results is not None:
            found = {"stored": stored.load(self.results / profile.name, name, self.tables[name].Cell)}
        return tasks(name, profile, self.data_checksum, **found)

    def keys(self, name: str, profile: Profile) -> list[str]:
        """The keys of a table's cells in a profile, without reading what the book keeps of them."""
        return [task.key for task in tasks(name, profile, self.data_checksum)]

    def compute(self, work: Sequence[Task], profile: Profile, store: Store, **options: Any) -> Progress:
        """Computes what the store lacks of ``work``, of any tables; ``options`` as in ``infocap.study.sweep.sweep``.

        Raises:
            ValueError: The profile wants a CUDA device, and neither this machine nor a cluster has one.
        """
        on_cluster = type(joblib.parallel.get_active_backend()[0]).__name__ == "DaskDistributedBackend"
        nowhere = profile.device == "cuda" and not on_cluster and not torch.cuda.is_available()
        if nowhere and any(not task.fault and task.result(store) is None for task in work):
            raise ValueError("device: got 'cuda', and this machine has none; accepted: --set device=cpu")
        return sweep(work, {task.table: self.tables[task.table].measure for task in work}, store, **options)

    def collect(self, name: str, profile: Profile, store: Store, work: Sequence[Task] | None = None) -> Table:
        """The table of the finished cells, listed already or not; computes nothing."""
        return collect(name, profile, self.work(name, profile) if work is None else work, store)
