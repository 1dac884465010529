"""How does a finished run get into the book?

``keep`` writes what ``infocap.study.stored`` reads: the rows of all finished cells, and the verdicts of all claims.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from infocap.study import stored
from infocap.study.catalogue import Catalogue
from infocap.study.claims import Verdict, scorecard
from infocap.study.profiles import Profile
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.tables import Table

__all__ = ["keep"]


def keep(
    catalogue: Catalogue,
    profile: Profile,
    store: Store,
    folder: str | Path,
    reduced: Mapping[str, Callable[[Table], pd.DataFrame]] = {},
) -> list[Path]:
    """Writes ``scorecard.json`` and the files of each table that has finished cells.

    Args:
        catalogue: Its tables and claims.
        profile: Decides which cells there are.
        store: Holds the finished ones; nothing is computed.
        folder: Receives the files; a table ``part/name`` becomes ``part_name.json``, with arrays ``part_name.npz``.
        reduced: For tables whose rows are not kept whole, what a figure draws of them, with the table's index.

    Returns:
        The files that were written.

    Raises:
        ValueError: A file of the folder holds something else, such as another profile; nothing was written then.
        OSError: A file cannot be written.
    """
    folder, files = Path(folder), {}
    once = SimpleNamespace(get=cache(store.get))  # each record is read once, for the rows and for the verdicts
    for name in catalogue.tables:
        work = catalogue.work(name, profile)
        found = [(task, record) for task in work if task.key and (record := once.get(task.key))]
        if found:
            files |= stored.export(name, profile.name, work, found, folder, reduced.get(name))
    tables = {name: catalogue.collect(name, profile, once) for name in catalogue.tables}
    path = folder / "scorecard.json"
    verdicts = _verdicts(json.loads(to_json(scorecard(catalogue.claims, tables))), path)
    files[path] = f"{json.dumps(verdicts, indent=1, allow_nan=False)}\n".encode()
    return stored.save(files)


def _verdicts(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The rows that decide, and those of the file where nothing was run for them."""
    profile = rows[0]["profile"]
    try:
        before = json.loads(path.read_bytes()) if path.exists() else []
        found = {row["claim"]: row for row in [*before, *rows] if row["verdict"] != Verdict.NOT_RUN}
        if {row["profile"] for row in found.values()} - {profile}:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: accepted: verdicts of the profile {profile}, or no file") from None
    return [found[row["claim"]] for row in rows if row["claim"] in found]
