"""What does the book keep of a run that its readers cannot repeat in minutes?

Chapters draw small stored tables of the profile ``full`` beside those of their own build. They hold what the figures
need and no arrays, so that they can lie under version control. ``python -m infocap.experiments.kept`` writes them, and
the verdicts of all claims, from the cells that the store holds.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from infocap._files import replace
from infocap.experiments.catalogue import CLAIMS, TABLES, work
from infocap.experiments.generalization.results import finished_sizes
from infocap.experiments.profiles import Profile, load_profile
from infocap.experiments.sample_information.dynamics_figures import by_width
from infocap.experiments.sample_information.results import finished_agreement
from infocap.study.claims import scorecard
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.sweep import collect
from infocap.study.tables import Table, write

__all__ = ["KEPT", "keep"]


def _whole(table: Table) -> pd.DataFrame:
    return table.frame


def _scalars(table: Table) -> pd.DataFrame:
    """Without columns that hold many numbers for each cell; classes and widths name the task."""
    many = table.frame.map(lambda value: isinstance(value, list | tuple | dict)).any()
    return table.frame.loc[:, ~many | many.index.isin(["classes", "widths"])]


KEPT: dict[str, Callable[[Table], pd.DataFrame]] = {
    "noisy_labels/training": _scalars,
    "sample_information/retraining": finished_agreement,
    "sample_information/summarization": _whole,
    "sample_information/detection": _scalars,
    "sample_information/dynamics": by_width,
    "generalization/training": finished_sizes,
    "distillation/flips": _whole,
}


def keep(profile: Profile, store: Store, folder: str | Path) -> list[Path]:
    """Writes ``scorecard.json`` and, for each table in ``KEPT`` that has finished cells, a small table.

    Args:
        profile: Decides which cells there are.
        store: Holds the finished ones; nothing is computed.
        folder: Receives the files; a table ``part/name`` becomes ``part_name.json``.

    Returns:
        The files that were written.

    Raises:
        OSError: A file cannot be written.
    """
    tables = {name: collect(name, profile.name, work(name, profile), store, profile.device) for name in TABLES}
    verdicts = Path(folder) / "scorecard.json"
    verdicts.parent.mkdir(parents=True, exist_ok=True)
    replace(verdicts, f"{to_json(scorecard(CLAIMS, tables, profile))}\n".encode())
    files = [verdicts]
    for name, reduce in KEPT.items():
        if len(tables[name].frame):
            files.append(verdicts.with_name(f"{name.replace('/', '_')}.json"))
            write(Table(name, profile.name, reduce(tables[name]), tables[name].provenance), files[-1])
    return files


def main(
    profile: Annotated[str, typer.Option(help="smoke, quick or full")] = "full",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="repeatable")] = None,
    store: Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")] = None,
    folder: Annotated[Path, typer.Option(help="receives the files")] = Path("book/results/full"),
) -> None:
    """Writes the verdicts and small tables of the cells that the store holds; computes nothing."""
    for file in keep(load_profile(profile, settings or []), Store(store), folder):
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
