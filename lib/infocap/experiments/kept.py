"""What does the book keep of a run that its readers cannot repeat in minutes?

``python -m infocap.experiments.kept`` writes the rows of all finished cells of a profile, and the verdicts of all
claims, to ``book/results/<profile>``; what the store does not hold stays as it was stored. Rows of ``full`` are
thousands, some of them large, so of some tables they are reduced to what the chapters draw beside their own; rows of
``evidence``, on which verdicts rest, are whole.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.generalization.results import finished_sizes
from infocap.experiments.sample_information.results import last_step
from infocap.study import stored
from infocap.study.claims import Verdict, scorecard
from infocap.study.profiles import Profile
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.tables import Table

__all__ = ["REDUCED", "keep"]


def _scalars(table: Table) -> pd.DataFrame:
    """Without columns that hold many numbers for each cell; classes and widths name the task."""
    many = table.frame.map(lambda value: isinstance(value, list | tuple | dict)).any()
    return table.frame.loc[:, ~many | many.index.isin(["classes", "widths"])]


REDUCED: dict[str, Callable[[Table], pd.DataFrame]] = {  # of the profile full; one row per cell, with the table's index
    "noisy_labels/training": _scalars,
    "sample_information/detection": _scalars,
    "sample_information/dynamics": last_step,
    "generalization/training": finished_sizes,
}


def keep(profile: Profile, store: Store, folder: str | Path) -> list[Path]:
    """Writes ``scorecard.json`` and the files of each table that has finished cells.

    Args:
        profile: Decides which cells there are.
        store: Holds the finished ones; nothing is computed.
        folder: Receives the files; a table ``part/name`` becomes ``part_name.json``, with arrays ``part_name.npz``.

    Returns:
        The files that were written.

    Raises:
        ValueError: A file of the folder holds something else, such as another profile; nothing was written then.
        OSError: A file cannot be written.
    """
    folder, files = Path(folder), {}
    for name in CATALOGUE.tables:
        work = CATALOGUE.work(name, profile)
        found = [(task, record) for task in work if task.key and (record := store.get(task.key))]
        if found:
            reduce = REDUCED.get(name) if profile.name == "full" else None
            files |= stored.export(name, profile.name, work, found, folder, reduce)
    tables = {name: CATALOGUE.collect(name, profile, store) for name in CATALOGUE.tables}
    path = folder / "scorecard.json"
    verdicts = _verdicts(json.loads(to_json(scorecard(CATALOGUE.claims, tables))), path)
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


def main(
    profile: Annotated[str, typer.Option(help="smoke, quick, evidence or full")] = "full",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="repeatable")] = None,
    store: Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")] = None,
    folder: Annotated[Path | None, typer.Option(help="receives the files; default: book/results/<profile>")] = None,
) -> None:
    """Writes the rows and verdicts of the cells that the store holds; computes nothing."""
    chosen = CATALOGUE.load_profile(profile, settings or [])
    for file in keep(chosen, Store(store), folder or Path("book/results") / profile):
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
